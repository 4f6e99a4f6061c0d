package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api/ops"
)

// TestAnyDaemonSetConverges draws histories of one set and its nodes and checks every step on the way: Invariants 32 and 37.
func TestAnyDaemonSetConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 4)
		d := testDaemonSet("log")
		d.Spec.MinReadySeconds = rapid.SampledFrom([]int32{0, 2}).Draw(t, "min ready")
		limit := intstr.FromInt32(rapid.Int32Range(1, 3).Draw(t, "limit"))
		none := intstr.FromInt32(0)
		if rapid.Bool().Draw(t, "surge") {
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxSurge: &limit, MaxUnavailable: &none}
		} else {
			d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &limit
		}
		w.put(DaemonSets, d)
		w.watchDaemon("log")
		stop := w.losing(t)
		for range rapid.IntRange(1, 15).Draw(t, "actions") {
			actDaemon(t, w)
			if rapid.Bool().Draw(t, "settle") {
				w.settle()
				checkSums(t, w)
			}
			if rapid.Bool().Draw(t, "work") {
				w.work()
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
		}
		stop()
		for i := range 5 {
			n := fmt.Sprintf("n%d", i+1)
			delete(w.dead, n)
			w.e.NodeUp(n)
		}
		w.outlast()
		w.checkDaemon(t)
		checkSums(t, w)
		w.inherit()
	})
}

// checkDaemon holds in the end: each node that should have a pod has one, of today's template.
func (w *world) checkDaemon(t failer) {
	d := w.daemonSet("log")
	image, want := d.Spec.Template.Spec.Containers[0].Image, 0
	for _, o := range w.list(Nodes) {
		pods := w.byNode("log")[o.name]
		tainted := slices.ContainsFunc(o.obj.(*corev1.Node).Spec.Taints, func(x corev1.Taint) bool { return x.Key == "people" })
		if !tainted {
			want++
		}
		if !tainted && (len(pods) != 1 || pods[0] != image) {
			t.Fatalf("node %s has %v, not one %s\n%s", o.name, pods, image, strings.Join(w.trace, "\n"))
		}
		if tainted && len(pods) > 1 {
			t.Fatalf("node %s has %v", o.name, pods)
		}
	}
	if s := d.Status; int(s.DesiredNumberScheduled) != want || int(s.NumberAvailable) != want || int(s.UpdatedNumberScheduled) != want || s.ObservedGeneration != d.Generation {
		t.Fatalf("%d are wanted, status %+v\n%s", want, s, strings.Join(w.trace, "\n"))
	}
}

func actDaemon(t *rapid.T, w *world) {
	node := fmt.Sprintf("n%d", rapid.IntRange(1, 5).Draw(t, "node"))
	there := w.objects[ref{Nodes, "", node}] != nil
	switch rapid.SampledFrom([]string{"image", "delete pod", "down", "up", "end pod", "sick", "taint", "node", "second pod"}).Draw(t, "action") {
	case "image":
		w.changeSet(t, "daemonset", "log", "image", fmt.Sprintf("v%d", rapid.IntRange(1, 3).Draw(t, "image")))
	case "delete pod":
		if p := pickOf(t, w, "log"); p != nil {
			w.deleteNamed(p.Name, rapid.SampledFrom([]int64{-1, 0}).Draw(t, "grace"))
		}
	case "down":
		if there {
			w.dead[node] = true
			w.e.NodeDown(node)
		}
	case "up":
		if there {
			delete(w.dead, node)
			w.e.NodeUp(node)
		}
	case "end pod", "sick":
		if p := pickOf(t, w, "log"); p != nil && p.Node != "" && !w.dead[p.Node] && !p.Terminal() {
			w.setStatus(p, rapid.SampledFrom([]corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded, corev1.PodRunning}).Draw(t, "phase"), false)
		}
	case "taint":
		if there {
			w.taint(node, rapid.SampledFrom([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, "none"}).Draw(t, "effect"))
		}
	case "node":
		if there {
			delete(w.dead, node)
			w.deleteNow(t, ref{Nodes, "", node})
		} else {
			w.addNode(node, "4", "110")
		}
	case "second pod": // of the same labels, which the set adopts
		w.rev++
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("by-hand-%d", w.rev), Labels: map[string]string{"app": "log"}}, Spec: testPodSpec("v0")}
		if there {
			p.Spec.NodeName = node
			w.put(Pods, p)
		}
	}
}

// watchDaemon checks what the engine wants to do before it is done: an update leaves enough nodes with an available pod, or makes no more
// second pods than it may, and no node gets a pod that may not have one.
func (w *world) watchDaemon(name string) {
	w.check = func(list []ops.Op) {
		d := w.daemonSet(name)
		known := w.e.daemons[d.UID]
		if known == nil {
			return
		}
		deleted := map[string]bool{}
		for _, op := range list {
			switch op := op.(type) {
			case *ops.PlanPods:
				for _, r := range op.Rows {
					if o := w.objects[ref{Nodes, "", r.Node}]; r.Node != "" && o != nil {
						if wanted, _ := known.eligible(o.obj.(*corev1.Node)); !wanted {
							w.t.Fatalf("node %s gets a pod\n%s", r.Node, strings.Join(w.trace, "\n"))
						}
					}
				}
			case *ops.DeletePods:
				for _, r := range op.Rows {
					deleted[string(r.UID)] = true
				}
			}
		}
		w.checkSeconds(d, list, deleted)
		w.checkUnavailable(d, known, deleted)
	}
}

// checkSeconds holds the number of nodes with an available pod and a second one to the surge. Pods that go in the same step count no more.
func (w *world) checkSeconds(d *appsv1.DaemonSet, list []ops.Op, deleted map[string]bool) {
	young := func(node string) (n int) {
		for _, p := range w.mine(d.Name) {
			if p.Node == node && !p.Deleting() && !deleted[string(p.UID)] && !p.Terminal() && p.Labels()[appsv1.ControllerRevisionHashLabelKey] == w.e.daemons[d.UID].hash {
				n++
			}
		}
		return n
	}
	live := func(node string) (n int, ready bool) {
		for _, p := range w.mine(d.Name) {
			if p.Node == node && !p.Deleting() && !deleted[string(p.UID)] && !p.Terminal() && p.Controller() != nil {
				n, ready = n+1, ready || p.Status.Ready() && !w.e.nodeDown(node)
			}
		}
		return n, ready
	}
	seconds, doubled := 0, 0
	for _, op := range list {
		if plan, ok := op.(*ops.PlanPods); ok {
			for _, r := range plan.Rows {
				if n, ready := live(r.Node); n > 0 && ready && d.Spec.MinReadySeconds == 0 {
					seconds++
				}
			}
		}
	}
	for _, o := range w.list(Nodes) {
		if n, _ := live(o.name); young(o.name) > 0 && n > young(o.name) {
			doubled++
		}
	}
	m := &muster{set: d, d: &daemon{sums: sums{desired: len(w.list(Nodes))}}}
	if surge, _ := m.bounds(); seconds > 0 && seconds+doubled > surge {
		w.t.Fatalf("%d nodes have two pods and %d more would, %d may\n%s", doubled, seconds, surge, strings.Join(w.trace, "\n"))
	}
}

func (w *world) checkUnavailable(d *appsv1.DaemonSet, known *daemon, deleted map[string]bool) {
	desired, before, after := 0, 0, 0
	for _, o := range w.list(Nodes) {
		if wanted, _ := known.eligible(o.obj.(*corev1.Node)); !wanted {
			continue
		}
		desired++
		had, has := false, false
		for _, p := range w.mine(d.Name) {
			since := time.Unix(p.Status.ReadySince(), 0).Add(time.Duration(d.Spec.MinReadySeconds) * time.Second)
			if p.Node != o.name || p.Deleting() || p.Terminal() || !p.Status.Ready() || w.e.nodeDown(o.name) || since.After(w.now) || p.Controller() == nil {
				continue
			}
			had, has = true, has || !deleted[string(p.UID)]
		}
		if had {
			before++
		}
		if has {
			after++
		}
	}
	m := &muster{set: d, d: &daemon{sums: sums{desired: desired}}}
	_, unavailable := m.bounds()
	if least := desired - unavailable; after < min(before, least) {
		w.t.Fatalf("%d nodes had an available pod, %d would have one, %d are the least\n%s", before, after, least, strings.Join(w.trace, "\n"))
	}
}

// checkSums compares the sums of a DaemonSet, which are kept by differences, with a count from scratch.
func checkSums(t *rapid.T, w *world) {
	for _, d := range w.e.daemons {
		var n sums
		for _, b := range d.berths {
			n.add(b.is, 1)
		}
		if n != d.sums {
			t.Fatalf("sums %+v, counted %+v", d.sums, n)
		}
		for _, p := range w.mine(d.name) {
			if p.Controller() == nil {
				continue
			}
			b := d.berths[berthOf(w.e.podsByUID.get(string(p.UID)))]
			if b == nil || !slices.ContainsFunc(b.pods, func(q *pod) bool { return q.rec.UID == p.UID }) {
				t.Fatalf("pod %s is not known on its node", p.Name)
			}
		}
	}
}
