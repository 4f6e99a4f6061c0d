package fsm

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// BenchmarkPodRows prints the processor time that a row of each kind of pod op costs a leader of 5,000 nodes and 100,000 pods, decoding
// included: a read that comes behind an entry waits for all of its rows.
func BenchmarkPodRows(b *testing.B) {
	const nodes, base, rows = 5000, 100_000, 1000
	spent := map[string]time.Duration{}
	n := 0
	for b.Loop() {
		f, index := New(), uint64(0)
		_, whole := f.TailAll(func(*api.Change) bool { return true })
		tails := []*Tail{whole}
		for g := range 10 {
			var names []string
			for i := range nodes / 10 {
				names = append(names, fmt.Sprintf("n%04d", g*nodes/10+i))
			}
			_, _, t := f.TailNodes(Following{Nodes: names, Moves: true, Also: func(*api.Change) bool { return false }})
			tails = append(tails, t)
		}
		apply := func(kind string, op ops.Op) {
			entry, err := ops.Encode([]ops.Op{op})
			if err != nil {
				b.Fatal(err)
			}
			index++
			from := ownTime()
			f.Apply(index, entry)
			if kind != "" {
				spent[kind] += ownTime() - from
			}
			for _, t := range tails {
				_, _ = t.Take()
			}
		}
		plan := func(name string, k int) *ops.PlanPods {
			p := &ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: name, Namespace: "default", Labels: map[string]string{"app": name}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}
			for i := range rows {
				p.Rows = append(p.Rows, ops.PlanRow{Suffix: fmt.Sprintf("%05d", i), UID: types.UID(fmt.Sprintf("%08d-0000-0000-0000-%012d", k, i)), Node: fmt.Sprintf("n%04d", (k*7+i*13)%nodes)})
			}
			return p
		}
		for k := range base / rows {
			apply("", plan(fmt.Sprintf("base%d-", k), k))
		}
		for k := range 10 {
			name := fmt.Sprintf("web%d-", k)
			p := plan(name, 1000+k)
			apply("plan", p)
			statuses, deletes := &ops.PodStatuses{}, &ops.DeletePods{Now: 1}
			for i, r := range p.Rows {
				s, _ := runningStatus(i).Marshal()
				statuses.Rows = append(statuses.Rows, ops.StatusRow{Namespace: "default", Name: name + r.Suffix, UID: r.UID, Status: s})
				deletes.Rows = append(deletes.Rows, ops.DeleteRow{Namespace: "default", Name: name + r.Suffix, UID: r.UID, Grace: -1})
			}
			apply("status", statuses)
			apply("delete", deletes)
			for i := range deletes.Rows {
				deletes.Rows[i].Grace = 0
			}
			apply("remove", deletes)
		}
		n += 10 * rows
	}
	for kind, t := range spent {
		b.ReportMetric(float64(t.Microseconds())/float64(n), "us/"+kind)
	}
}

func runningStatus(i int) *corev1.PodStatus {
	now := metav1.Unix(1_700_000_000, 0)
	s := &corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.%d.%d.1", i/250, i%250), PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.1", i/250, i%250)}}, StartTime: &now}
	for _, t := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	s.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Image: "i", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}, ContainerID: fmt.Sprintf("peapod://%064d", i)}}
	return s
}

func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
