package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// addPod makes a pod as a user would.
func (w *world) addPod(name, cpu string, priority int32, change func(*corev1.Pod)) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}}}
	p.Spec = testPodSpec("v1")
	p.Spec.Priority = &priority
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	if change != nil {
		change(p)
	}
	w.put(Pods, p)
}

func (w *world) podSays(name string, c corev1.PodConditionType) (*corev1.PodCondition, corev1.PodStatus) {
	s := w.podNamed(name).DecodeStatus()
	return podCondition(&s, c), s
}

// settledFor lets time pass without nodes working.
func (w *world) settledFor(d time.Duration) {
	w.now = w.now.Add(d)
	w.settle()
}

func TestPreemptionIsGraceful(t *testing.T) {
	w := standardWorld(t, 1, 1) // of 4 cores
	w.addPod("low", "3", 1, nil)
	w.converge()
	w.addPod("high", "2", 10, nil)
	w.settle()
	low := w.podNamed("low")
	if c, _ := w.podSays("low", corev1.DisruptionTarget); !low.Deleting() || low.DeletionGrace != 30 || c == nil ||
		c.Reason != "PreemptionByScheduler" || c.Message != "default-scheduler: preempting to accommodate a higher priority pod" {
		t.Fatalf("the victim is %+v with %+v", low, c)
	}
	if _, s := w.podSays("high", corev1.PodScheduled); s.NominatedNodeName != "n1" {
		t.Fatalf("nominated for %q", s.NominatedNodeName)
	}
	if all := strings.Join(w.trace, "\n"); !strings.Contains(all, "Preempted by pod "+string(w.podNamed("high").UID)+" on node n1") {
		t.Fatalf("no event:\n%s", all)
	}
	// What becomes free is kept: a pod that matters less does not get it, neither before the victim has gone nor when it goes.
	w.addPod("late", "3", 5, nil)
	w.settledFor(time.Second)
	w.converge()
	if high, late := w.podNamed("high"), w.podNamed("late"); high.Node != "n1" || late.Node != "" {
		t.Fatalf("high is on %q, late on %q", high.Node, late.Node)
	}
	if c, _ := w.podSays("late", corev1.PodScheduled); c.Message !=
		"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod." {
		t.Error(c.Message)
	}
}

func TestNominationOutlivesTheLeader(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.addPod("low", "3", 1, nil)
	w.converge()
	w.addPod("high", "2", 10, nil)
	w.settle()
	w.restart(2)
	w.addPod("late", "1", 5, nil) // would fit beside low, but not beside low and what is kept for high
	w.settle()
	if late := w.podNamed("late"); late.Node != "" {
		t.Fatalf("late is on %q", late.Node)
	}
	w.converge()
	if w.podNamed("high").Node != "n1" || w.podNamed("late").Node != "n1" {
		t.Fatal("somebody waits still")
	}
}

func TestNeverPreempts(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.addPod("low", "3", 1, nil)
	w.converge()
	w.addPod("high", "2", 10, func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) })
	w.converge()
	if c, _ := w.podSays("high", corev1.PodScheduled); w.podNamed("low").Deleting() || c.Message !=
		"0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never." {
		t.Fatal(c.Message)
	}
}

// TestBudgetsAreKept: of two nodes the one whose pod has no budget that forbids it gives room, though its pod matters more.
func TestBudgetsAreKept(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.addPod("guarded", "3", 1, nil)
	w.addPod("free", "3", 2, nil)
	w.put(Budgets, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}}})
	w.converge()
	w.addPod("high", "3", 10, nil)
	w.settle()
	if w.podNamed("guarded").Deleting() || !w.podNamed("free").Deleting() {
		t.Fatal("the wrong one goes")
	}
	w.addPod("second", "3", 10, nil) // nothing else helps it
	w.settle()
	if !w.podNamed("guarded").Deleting() {
		t.Fatal("a budget stops what matters more")
	}
}

// TestAffinityIsAwaited: a pod that wants to be near another is placed when that one is.
func TestAffinityIsAwaited(t *testing.T) {
	w := standardWorld(t, 1, 2)
	for _, n := range []string{"n1", "n2"} {
		o := w.objects[ref{Nodes, "", n}].obj.DeepCopyObject().(*corev1.Node)
		o.Labels = map[string]string{corev1.LabelHostname: n}
		w.put(Nodes, o)
	}
	w.addPod("web", "100m", 0, func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}}}
	})
	w.converge()
	if c, _ := w.podSays("web", corev1.PodScheduled); c.Message != "0/2 nodes are available: 2 node(s) didn't match pod affinity rules. "+
		"preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling." {
		t.Fatal(c.Message)
	}
	w.addPod("db", "100m", 0, nil)
	w.converge()
	if web, db := w.podNamed("web"), w.podNamed("db"); web.Node == "" || web.Node != db.Node {
		t.Fatalf("web is on %q, db on %q", web.Node, db.Node)
	}
}

func inGang(size int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{GangName: "crew", GangSize: fmt.Sprint(size)}
	}
}

func (w *world) gangPlaced(names ...string) (n int) {
	for _, name := range names {
		if w.podNamed(name).Node != "" {
			n++
		}
	}
	return n
}

// TestGangIsPlacedWholeOrNotAtAll: as many as it wants have a place, or none. Invariant 89.
func TestGangIsPlacedWholeOrNotAtAll(t *testing.T) {
	w := standardWorld(t, 1, 2) // of 4 cores
	names := []string{"a", "b", "c"}
	for _, name := range names[:2] {
		w.addPod(name, "3", 0, inGang(3))
	}
	w.converge()
	if c, _ := w.podSays("a", corev1.PodScheduled); c.Message != "gang crew: 2 of 3 pods exist." {
		t.Fatal(c.Message)
	}
	w.addPod("c", "3", 0, inGang(3))
	w.converge()
	want := "gang crew: 2 of 3 pods fit. 0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
	for _, name := range names {
		if c, _ := w.podSays(name, corev1.PodScheduled); w.gangPlaced(names...) != 0 || c.Message != want {
			t.Fatalf("%d are placed; %s", w.gangPlaced(names...), c.Message)
		}
	}
	w.addPod("other", "4", 0, nil) // the room of a gang that does not fit is nobody's
	w.converge()
	if w.podNamed("other").Node == "" {
		t.Fatal("a gang that waits blocks others")
	}
	w.addNode("n3", "4", "110")
	w.addNode("n4", "4", "110")
	w.converge()
	if n := w.gangPlaced(names...); n != 3 {
		t.Fatalf("%d are placed", n)
	}
}

// TestGangPreemptsWholeOrNotAtAll: nobody goes for a gang that does not fit even so. Invariant 89.
func TestGangPreemptsWholeOrNotAtAll(t *testing.T) {
	w := standardWorld(t, 1, 3)
	for _, name := range []string{"low1", "low2", "low3"} {
		w.addPod(name, "3", 1, nil)
	}
	w.converge()
	members := func(size, priority int32, names ...string) {
		for _, name := range names {
			w.addPod(name, "3", priority, inGang(int(size)))
		}
	}
	members(4, 10, "a", "b", "c", "d")
	w.converge()
	if w.podNamed("low1").Deleting() || w.podNamed("low2").Deleting() || w.podNamed("low3").Deleting() || w.gangPlaced("a", "b", "c", "d") != 0 {
		t.Fatal("pods go for a gang that does not fit even so")
	}
	w.addNode("n4", "4", "110")
	w.settle()
	if n := w.gangPlaced("a", "b", "c", "d"); n != 0 {
		t.Fatalf("%d members do not wait for the others", n)
	}
	w.addPod("late", "2", 5, nil) // n4 is kept for the gang
	w.settledFor(time.Second)
	w.converge()
	if n := w.gangPlaced("a", "b", "c", "d"); n != 4 || w.podNamed("late").Node != "" {
		t.Fatalf("%d members are placed; late is on %q", n, w.podNamed("late").Node)
	}
}

// restart replaces the engine by a fresh one that has seen what is there.
func (w *world) restart(seed uint64) {
	w.e = w.successor(seed)
	w.e.Load(w)
}
