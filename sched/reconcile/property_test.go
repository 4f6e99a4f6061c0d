package reconcile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// watchMoves checks every step before it is applied: no pod is bound twice, and what the engine
// itself takes away or adds keeps the bounds of the rollout.
func (w *world) watchMoves(name string) {
	bound := map[types.UID]string{}
	w.check = func(list []ops.Op) {
		for _, op := range list {
			switch op := op.(type) {
			case *ops.PlanPods:
				for _, r := range op.Rows {
					w.bindOnce(bound, r.UID, r.Node)
				}
			case *ops.BindPods:
				for _, r := range op.Rows {
					w.bindOnce(bound, r.UID, r.Node)
				}
			}
		}
		w.checkRollout(name, list)
	}
}

// checkRollout: what a step takes away of a deployment leaves as many available pods as there are to be.
func (w *world) checkRollout(name string, list []ops.Op) {
	d := w.deployment(name)
	deleted := map[types.UID]bool{}
	for _, op := range list {
		if op, ok := op.(*ops.DeletePods); ok {
			for _, r := range op.Rows {
				deleted[r.UID] = true
			}
		}
	}
	if d == nil || d.DeletionTimestamp != nil {
		return
	}
	r := &rollout{d: d}
	_, unavailable := r.bounds()
	least := int(*d.Spec.Replicas - unavailable)
	before, after := 0, 0
	for uid, p := range w.mine(name) {
		if p.Status.Ready() && !w.e.nodeDown(p.Node) && !p.Deleting() {
			before++
			if !deleted[uid] || w.objects[ref{Nodes, "", p.Node}] == nil { // of a node that was deleted they go by themselves
				after++
			}
		}
	}
	if r.rolling() && after < min(before, least) {
		w.t.Fatalf("%d pods were available, %d remain, %d are the minimum:\n%s", before, after, least, strings.Join(w.trace, "\n"))
	}
}

func (w *world) bindOnce(bound map[types.UID]string, uid types.UID, node string) {
	if old := bound[uid]; old != "" && node != "" {
		w.t.Fatalf("pod %s bound to %s and %s", uid, old, node)
	}
	bound[uid] = node
}

// mine are the pods of an application by UID.
func (w *world) mine(app string) map[types.UID]*api.PodRecord {
	out := map[types.UID]*api.PodRecord{}
	for _, p := range w.pods {
		if p.Labels()["app"] == app {
			out[p.UID] = p
		}
	}
	return out
}

// checkSurge holds after every step: the ReplicaSets together never want more than the bound.
func (w *world) checkSurge(name string, most int32) {
	var n int32
	for _, o := range w.list(ReplicaSets) {
		n += replicas(o.obj.(*appsv1.ReplicaSet).Spec.Replicas)
	}
	if n > most {
		w.t.Fatalf("ReplicaSets want %d pods, at most %d are allowed\n%s", n, most, strings.Join(w.trace, "\n"))
	}
}

func (w *world) checkCapacity() {
	for node, n := range w.podsOn() {
		if o := w.objects[ref{Nodes, "", node}]; o != nil {
			if pods := o.obj.(*corev1.Node).Status.Allocatable[corev1.ResourcePods]; int64(n) > pods.Value() {
				w.t.Fatalf("node %s has %d pods", node, n)
			}
		}
	}
}

// checkEnded holds a while after the last pod has ended: no more of them are kept than should be, and the books are right.
func (w *world) checkEnded() {
	w.now = w.now.Add(endedPodsPause)
	w.settle()
	n := 0
	for _, p := range w.pods {
		if p.Terminal() {
			n++
		}
	}
	if n > w.e.cfg.EndedPodsMax || n != len(w.e.ended) {
		w.t.Fatalf("%d pods have ended, %d are known, %d are kept\n%s", n, len(w.e.ended), w.e.cfg.EndedPodsMax, strings.Join(w.trace, "\n"))
	}
}

// play does random things to one deployment on a few nodes and returns what the engine decided.
func play(t *rapid.T, w *world) {
	w.addService("web", "web")
	d := testDeployment("web", int32(rapid.IntRange(0, 8).Draw(t, "replicas")))
	surge, unavailable := drawBound(t, "surge"), drawBound(t, "unavailable")
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
	if rapid.Bool().Draw(t, "recreate") && rapid.Bool().Draw(t, "really") {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	w.put(Deployments, d)
	w.watchMoves("web")
	for i := range rapid.IntRange(1, 15).Draw(t, "actions") {
		act(t, w, i)
		if rapid.Bool().Draw(t, "settle") {
			w.settle()
			w.checkCapacity()
			w.checkSurge("web", (&rollout{d: w.deployment("web")}).mostPods())
		}
		if rapid.Bool().Draw(t, "work") {
			w.work()
		}
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
	}
}

func drawBound(t *rapid.T, name string) intstr.IntOrString {
	if rapid.Bool().Draw(t, name+" in percent") {
		return intstr.FromString(fmt.Sprintf("%d%%", rapid.IntRange(0, 100).Draw(t, name)))
	}
	return intstr.FromInt32(rapid.Int32Range(0, 3).Draw(t, name))
}

func act(t *rapid.T, w *world, i int) {
	d := w.deployment("web")
	switch rapid.SampledFrom([]string{"scale", "update", "pause", "delete pod", "down", "up", "label pod", "end pod"}).Draw(t, "action") {
	case "scale":
		n := int32(rapid.IntRange(0, 10).Draw(t, "to"))
		d.Spec.Replicas = &n
		w.put(Deployments, d)
	case "update":
		d.Spec.Template.Spec = testPodSpec(fmt.Sprintf("v%d", rapid.IntRange(1, 4).Draw(t, "image")))
		w.put(Deployments, d)
	case "pause":
		d.Spec.Paused = !d.Spec.Paused
		w.put(Deployments, d)
	case "delete pod":
		if p := pick(t, w); p != nil {
			w.apply([]ops.Op{&ops.DeletePods{Now: w.now.Unix(), Rows: []ops.DeleteRow{{Namespace: "default", Name: p.Name, UID: p.UID, Grace: rapid.SampledFrom([]int64{-1, 0}).Draw(t, "grace")}}}})
		}
	case "down", "up":
		node := fmt.Sprintf("n%d", rapid.IntRange(1, 4).Draw(t, "node"))
		if w.dead[node] {
			delete(w.dead, node)
			w.e.NodeUp(node)
		} else if len(w.dead) < 3 {
			w.dead[node] = true
			w.e.NodeDown(node)
		}
	case "end pod":
		if p := pick(t, w); p != nil && p.Node != "" && !w.dead[p.Node] && !p.Terminal() {
			next := *p
			b, _ := (&corev1.PodStatus{Phase: rapid.SampledFrom([]corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded}).Draw(t, "phase")}).Marshal()
			_ = next.SetStatus(b)
			w.putRecord(p, &next)
		}
	case "label pod":
		if p := pick(t, w); p != nil && !p.Deleting() {
			np := p.Pod()
			np.Labels = map[string]string{"app": fmt.Sprintf("other-%d", i)}
			w.apply([]ops.Op{&ops.Put{Resource: Pods, Object: np, Expect: p.Revision}})
		}
	}
}

func pick(t *rapid.T, w *world) *api.PodRecord {
	mine := w.mine("web")
	if len(mine) == 0 {
		return nil
	}
	return mine[rapid.SampledFrom(slices.Sorted(maps.Keys(mine))).Draw(t, "pod")]
}

// TestAnythingConverges: Invariant 32.
func TestAnythingConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 4)
		w.e.cfg.EndedPodsMax = 2
		if rapid.Bool().Draw(t, "paced") {
			w.e.cfg.StatusPause, w.e.cfg.PodEventsPerSecond = testPause, 1
		}
		if early := rapid.Bool().Draw(t, "budget first"); early {
			w.put(Budgets, testBudget("", "1", webOnly()))
			play(t, w)
		} else {
			play(t, w)
			w.put(Budgets, testBudget("", "1", webOnly()))
		}
		d := w.deployment("web")
		if d.Spec.Paused {
			d.Spec.Paused = false
			w.put(Deployments, d)
		}
		w.converge()
		w.now = w.now.Add(w.e.cfg.StatusPause)
		w.settle()
		d = w.deployment("web")
		want := int(*d.Spec.Replicas)
		living := 0
		for _, p := range w.mine("web") {
			if !p.Deleting() && !p.Terminal() && controllerOf(p.Template.Pod) != nil {
				living++
				if w.dead[p.Node] || p.Spec().Containers[0].Image != d.Spec.Template.Spec.Containers[0].Image {
					t.Fatalf("pod %s on %s runs %s", p.Name, p.Node, p.Spec().Containers[0].Image)
				}
			}
		}
		if living != want || int(d.Status.AvailableReplicas) != want || int(d.Status.UpdatedReplicas) != want {
			t.Fatalf("%d pods live, %d are wanted, status %+v\n%s", living, want, d.Status, strings.Join(w.trace, "\n"))
		}
		if n := w.readyAddresses("web"); n != want {
			t.Fatalf("%d ready addresses, %d pods", n, want)
		}
		checkCounters(t, w)
		checkBudget(t, w)
		if s := w.budget().Status; int(s.CurrentHealthy) < want || s.ExpectedPods != int32(want) || s.ObservedGeneration != w.budget().Generation {
			t.Fatalf("%d pods are wanted: %+v", want, s)
		}
		w.checkEnded()
		r := &rollout{d: d}
		w.checkSurge("web", r.mostPods())
	})
}

// checkCounters compares the incremental counters with a count from scratch.
func checkCounters(t *rapid.T, w *world) {
	for _, f := range w.e.flocks {
		active, ready := 0, 0
		for _, p := range f.pods {
			c := w.e.tallyOf(p, f)
			if c != p.counted {
				t.Fatalf("pod %s is counted as %+v but is %+v", p.name(), p.counted, c)
			}
			if c.active {
				active++
			}
			if c.ready {
				ready++
			}
		}
		if active != f.active || ready != f.ready {
			t.Fatalf("counters %d %d, counted %d %d", f.active, f.ready, active, ready)
		}
	}
}

// TestSameObservationsSameOps: Invariant 31.
func TestSameObservationsSameOps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 12).Draw(t, "script")
		run := func() []byte {
			w := standardWorld(t, 7, 3)
			w.addService("web", "web")
			var all bytes.Buffer
			w.check = func(list []ops.Op) { all.WriteString(fmt.Sprint(encode(t, list))) }
			w.put(Deployments, testDeployment("web", 4))
			for i, a := range script {
				d := w.deployment("web")
				switch a {
				case 0, 1:
					n := int32(i + a)
					d.Spec.Replicas = &n
					w.put(Deployments, d)
				case 2:
					d.Spec.Template.Spec = testPodSpec(fmt.Sprint("v", i))
					w.put(Deployments, d)
				case 3:
					w.e.NodeDown("n1")
				case 4:
					w.e.NodeUp("n1")
				default:
					w.work()
				}
				w.settle()
			}
			w.converge()
			return all.Bytes()
		}
		if a, b := run(), run(); !bytes.Equal(a, b) {
			t.Fatalf("two runs differ:\n%s\n%s", a, b)
		}
	})
}

func encode(t *rapid.T, list []ops.Op) string {
	b, err := ops.Encode(list)
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	return string(b)
}
