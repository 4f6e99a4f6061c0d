package sched

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// benchTable has nodes of three sizes in three zones. Allocatable is far more than what is placed.
func benchTable(n int, s Strategy) *Table {
	t := NewTable(1, s)
	for i := range n {
		node := testNode(fmt.Sprint("node-", i), []string{"64", "128", "256"}[i%3])
		node.Labels = map[string]string{corev1.LabelHostname: node.Name, corev1.LabelTopologyZone: fmt.Sprint("zone-", i%3)}
		node.Status.Allocatable[corev1.ResourceMemory] = resource.MustParse([]string{"256Gi", "512Gi", "1Ti"}[i*7%3])
		node.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("10000")
		t.SetNode(node)
	}
	return t
}

// benchTemplate is the pod of the i-th application.
func benchTemplate(b *testing.B, i int, change func(*corev1.Pod)) *api.PodTemplate {
	app := fmt.Sprint("app-", i)
	return testTemplate(b, fmt.Sprintf("%dm", 5+i%7), func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": app}
		p.OwnerReferences[0].UID = types.UID(app)
		if change != nil {
			change(p)
		}
	})
}

func benchSelector(p *corev1.Pod) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": p.Labels["app"]}}
}

func hostApart(p *corev1.Pod) {
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
		{TopologyKey: corev1.LabelHostname, LabelSelector: benchSelector(p)}}}}
}

func zoneSpread(p *corev1.Pod) {
	p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: zoneLabel,
		WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: benchSelector(p)}}
}

func hostSpread(p *corev1.Pod) {
	zoneSpread(p)
	p.Spec.TopologySpreadConstraints[0].TopologyKey = corev1.LabelHostname
}

// BenchmarkPlace prints placements for a second of processor time, with every filter on and the table's own bookkeeping included; before
// each measured group its pods' names exist. Pods that were placed stay until there are many.
func BenchmarkPlace(b *testing.B) {
	for _, c := range []struct {
		name     string
		change   func(*corev1.Pod)
		strategy Strategy
	}{{"plain", nil, LeastAllocated}, {"packed", nil, MostAllocated}, {"apart", hostApart, LeastAllocated},
		{"zones", zoneSpread, LeastAllocated}, {"hosts", hostSpread, LeastAllocated}} {
		for _, size := range []int{1000, 10, 1} {
			for _, nodes := range []int{100, 1000, 5000, 20000} {
				if size == 1000 && c.name == "apart" && nodes < 1000 {
					continue // there are not as many nodes as pods
				}
				b.Run(fmt.Sprintf("%s/groups=%d/nodes=%d", c.name, size, nodes), func(b *testing.B) {
					benchGroups(b, nodes, size, c.strategy, c.change)
				})
			}
		}
	}
}

func benchGroups(b *testing.B, nodes, size int, s Strategy, change func(*corev1.Pod)) {
	const roundPods = 50000
	table := benchTable(nodes, s)
	groups := make([]Group, roundPods/size)
	for i := range groups {
		groups[i] = Group{Template: benchTemplate(b, i, change), UIDs: make([]types.UID, size)}
		classOf(groups[i].Template) // as a controller's template has had long before
		for k := range groups[i].UIDs {
			groups[i].UIDs[k] = types.UID(fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", i, k))
		}
	}
	var spent time.Duration
	placed, next := 0, 0
	for b.Loop() {
		if next == len(groups) {
			for _, g := range groups {
				for _, uid := range g.UIDs {
					table.RemovePod(uid)
				}
			}
			next = 0
		}
		from := processorTime()
		d := table.Place(groups[next])
		spent += processorTime() - from
		placed += d.Placed
		if next++; d.Placed != size {
			b.Fatal(d.Reason)
		}
	}
	b.ReportMetric(float64(placed)/spent.Seconds(), "placements/s")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPreempt has 1,000 pods go for as many equal ones.
func BenchmarkPreempt(b *testing.B) {
	for _, nodes := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				w := newCrowd()
				for i := range nodes {
					w.SetNode(testNode(fmt.Sprint("n", i), "10"))
				}
				for i := range nodes * 10 {
					w.add(b, fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprint("n", i%nodes), "1", int32(i%3), int64(i))
				}
				g := Group{Template: testTemplate(b, "1", withPriority(10)), UIDs: uids(1000)}
				from := processorTime()
				list, why := w.Preempt(Preemption{Group: g, Residents: w.residents})
				spent += processorTime() - from
				if len(list[999].Victims) != 1 {
					b.Fatal(why)
				}
			}
			b.ReportMetric(spent.Seconds()*1000/float64(b.N), "ms/1000pods")
		})
	}
}
