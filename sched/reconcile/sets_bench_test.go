package reconcile

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// bigWorld is nodes, and DaemonSets that have a ready pod on each.
func bigWorld(b *testing.B, nodes, sets int) *world {
	w := newWorld(b, 1)
	w.put(Namespaces, &corev1.Namespace{})
	for i := range nodes {
		w.addNode(fmt.Sprintf("n%04d", i), "64", "250")
	}
	w.settleQuietly()
	for i := range sets {
		w.put(DaemonSets, testDaemonSet(fmt.Sprintf("log%d", i)))
	}
	w.settleQuietly()
	for _, p := range w.pods {
		w.start(p)
	}
	w.settleQuietly()
	if len(w.pods) != nodes*sets {
		b.Fatalf("%d pods", len(w.pods))
	}
	return w
}

// settleQuietly is settle without a trace.
func (w *world) settleQuietly() {
	for {
		out, _ := w.e.Step(w.now)
		if len(out) == 0 {
			return
		}
		w.apply(out)
	}
}

// BenchmarkDaemonSets measures what a change costs in a cluster of many nodes and sets, steps and all: a pod of one set that becomes
// unready or ready, a node that comes and goes, and a new leader's first step.
func BenchmarkDaemonSets(b *testing.B) {
	const sets = 20
	for _, nodes := range []int{500, 5000} {
		w := bigWorld(b, nodes, sets)
		pod := w.podOf("log7", "n0007").Name
		b.Run(fmt.Sprintf("pod/%d", nodes), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				w.setStatus(w.podNamed(pod), corev1.PodRunning, i%2 == 1)
				w.settleQuietly()
			}
		})
		b.Run(fmt.Sprintf("node/%d", nodes), func(b *testing.B) {
			for b.Loop() {
				w.addNode("new", "64", "250")
				w.settleQuietly()
				w.deleteNow(b, ref{Nodes, "", "new"})
				w.now = w.now.Add(strayNodeGrace)
				w.settleQuietly()
			}
		})
		b.Run(fmt.Sprintf("leader/%d", nodes), func(b *testing.B) {
			for b.Loop() {
				w.inherit()
			}
			b.ReportMetric(float64(len(w.pods)), "pods")
		})
	}
}

// BenchmarkStatefulSet makes a thousand pods at once, and counts them anew when one changes.
func BenchmarkStatefulSet(b *testing.B) {
	w := standardWorld(b, 1, 100)
	s := testStatefulSet("db", 1000)
	s.Spec.PodManagementPolicy = "Parallel"
	began := time.Now()
	w.put(StatefulSets, s)
	w.settleQuietly()
	b.Logf("1000 pods after %v", time.Since(began))
	for _, p := range w.pods {
		w.start(p)
	}
	w.settleQuietly()
	for i := 0; b.Loop(); i++ {
		w.setStatus(w.podNamed("db-500"), corev1.PodRunning, i%2 == 1)
		w.settleQuietly()
	}
}
