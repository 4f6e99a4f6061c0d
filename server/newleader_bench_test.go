package server

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// BenchmarkNewLeader prints what a new leader of so many running pods (-pods) on 20,000 nodes does before it decides about anything new:
// its engine takes in the state, and makes its first step. The processor time has the collector's.
func BenchmarkNewLeader(b *testing.B) {
	const nodes = 20_000
	w := newPlainTerm(b)
	config := reconcile.Config{Seed: 1, ClusterCIDR: netip.MustParsePrefix("10.0.0.0/16"), EndedPodsMax: endedPodsMax, StatusPause: statusPause}
	w.engine = reconcile.New(config)
	for i := range nodes {
		w.put("nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("sim-%d", i), UID: types.UID(fmt.Sprintf("node-%04d", i))},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
				corev1.ResourcePods: resource.MustParse("110")}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	}
	w.put("namespaces", "", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "default"}})
	w.settle()
	for i := range *podsHeld / 1000 {
		w.put("deployments", "apps", deploymentOf(fmt.Sprintf("web-%d", i), 1000))
	}
	w.settle()
	w.runAll()
	w.settle()
	w.engine = nil
	w.heap()
	var observed, stepped, observing, stepping time.Duration
	ops := 0
	for b.Loop() {
		runtime.GC()
		before, from := ownTime(), time.Now()
		e := reconcile.New(config)
		view, tail := w.state.TailAll(func(*api.Change) bool { return true })
		e.Load(view)
		observed += time.Since(from)
		mid := ownTime()
		from = time.Now()
		list, _ := e.Step(w.now)
		ops += len(list)
		stepped += time.Since(from)
		observing, stepping = observing+mid-before, stepping+ownTime()-mid
		tail.Close()
	}
	n := time.Duration(b.N)
	b.ReportMetric((observed/n).Seconds()*1000, "observing-ms")
	b.ReportMetric((stepped/n).Seconds()*1000, "first-step-ms")
	b.ReportMetric(float64(ops)/float64(n), "ops")
	b.ReportMetric((observing/n).Seconds()*1000, "load-cpu-ms")
	b.ReportMetric((stepping/n).Seconds()*1000, "step-cpu-ms")
}

// ownTime is the processor time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
