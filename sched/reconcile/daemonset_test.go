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

	"github.com/peapod-sh/peapod/api"
)

func (w *world) node(name string) *corev1.Node {
	return w.objects[ref{Nodes, "", name}].obj.DeepCopyObject().(*corev1.Node)
}

func (w *world) labelNode(name string, labels map[string]string) {
	n := w.node(name)
	n.Labels = labels
	w.put(Nodes, n)
}

// on are the nodes that have a pod of an application which is not deleting.
func (w *world) on(app string) (out []string) {
	for n := range w.byNode(app) {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// TestDaemonPodsFollowTheirNodes: whatever makes a node right or wrong for the set is seen, and only that.
func TestDaemonPodsFollowTheirNodes(t *testing.T) {
	w := standardWorld(t, 1, 3)
	d := testDaemonSet("log")
	d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	w.put(DaemonSets, d)
	w.converge()
	want := func(what string, nodes ...string) {
		t.Helper()
		w.converge()
		if got := w.on("log"); !slices.Equal(got, nodes) {
			t.Fatalf("%s: pods on %v, not on %v\n%s", what, got, nodes, strings.Join(w.trace, "\n"))
		}
		s := w.daemonSet("log").Status
		if int(s.NumberAvailable) != len(nodes) || s.NumberUnavailable != 0 || s.NumberMisscheduled != 0 || s.CurrentNumberScheduled != s.DesiredNumberScheduled {
			t.Fatalf("%s: status %+v", what, s)
		}
	}
	want("no node has the label")
	w.labelNode("n1", map[string]string{"disk": "ssd"})
	w.labelNode("n2", map[string]string{"disk": "ssd"})
	want("two are labelled", "n1", "n2")
	w.labelNode("n1", nil)
	want("one no more", "n2")
	d = w.daemonSet("log")
	d.Spec.Template.Spec.NodeSelector = nil
	w.put(DaemonSets, d)
	want("the selector goes", "n1", "n2", "n3")
	w.addNode("n4", "4", "110")
	want("a node comes", "n1", "n2", "n3", "n4")
	w.deleteNow(t, ref{Nodes, "", "n4"})
	w.now = w.now.Add(strayNodeGrace)
	want("and goes", "n1", "n2", "n3")
	n := w.node("n1")
	n.Spec.Unschedulable = true
	w.put(Nodes, n)
	want("a cordoned node keeps its pod", "n1", "n2", "n3")
	w.deleteNamed(w.podOf("log", "n1").Name, -1)
	want("and gets another", "n1", "n2", "n3")
}

// podOf is an application's pod on a node that is not deleting.
func (w *world) podOf(app, node string) *api.PodRecord {
	for _, p := range w.mine(app) {
		if p.Node == node && !p.Deleting() {
			return p
		}
	}
	return nil
}

// A taint that keeps new pods away lets the one that is there stay, astray; one that ends pods ends it.
func TestDaemonPodsUnderTaints(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(DaemonSets, testDaemonSet("log"))
	w.converge()
	w.taint("n1", corev1.TaintEffectNoSchedule)
	w.converge()
	if s := w.daemonSet("log").Status; !slices.Equal(w.on("log"), []string{"n1", "n2"}) || s.DesiredNumberScheduled != 1 || s.NumberMisscheduled != 1 {
		t.Fatalf("pods on %v, status %+v", w.on("log"), s)
	}
	w.deleteNamed(w.podOf("log", "n1").Name, -1)
	w.converge()
	if got := w.on("log"); !slices.Equal(got, []string{"n2"}) {
		t.Fatalf("pods on %v", got)
	}
	w.taint("n2", corev1.TaintEffectNoExecute)
	w.converge()
	if got := w.on("log"); len(got) != 0 {
		t.Fatalf("pods on %v", got)
	}
}

// The pod of a dead node stays, astray since the node's taint keeps new pods away, and counts again when the node is back.
func TestDaemonPodOfADeadNode(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(DaemonSets, testDaemonSet("log"))
	w.converge()
	old := w.podOf("log", "n1").UID
	w.dead["n1"] = true
	w.e.NodeDown("n1")
	w.converge()
	if p, s := w.podOf("log", "n1"), w.daemonSet("log").Status; p == nil || p.UID != old || s.NumberReady != 1 || s.NumberMisscheduled != 1 || s.DesiredNumberScheduled != 1 {
		t.Fatalf("the pod is %+v, status %+v", p, s)
	}
	delete(w.dead, "n1")
	w.e.NodeUp("n1")
	w.converge()
	if s := w.daemonSet("log").Status; s.NumberAvailable != 2 {
		t.Fatalf("status %+v", s)
	}
}

// Pods of one template say each its own node, and a thousand of them are one op.
func TestDaemonPodsShareATemplate(t *testing.T) {
	w := standardWorld(t, 1, 40)
	w.put(DaemonSets, testDaemonSet("log"))
	w.settle()
	templates := map[*api.PodTemplate]bool{}
	for _, p := range w.mine("log") {
		templates[p.Template] = true
		if node, ok := api.PinnedTo(&p.Pod().Spec); !ok || node != p.Node || node == "" {
			t.Fatalf("the pod on %q is pinned to %q", p.Node, node)
		}
		if p.Labels()[appsv1.DefaultDaemonSetUniqueLabelKey] == "" || p.Labels()[templateGenerationLabel] != "" {
			t.Fatalf("labels %v", p.Labels())
		}
	}
	if len(w.mine("log")) != 40 || len(templates) != 1 {
		t.Fatalf("%d pods of %d templates", len(w.mine("log")), len(templates))
	}
	w.converge()
}

// A pod without room waits for its own node, says why, and is tried again when there is room.
func TestDaemonPodWaitsForRoom(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.addNode("tiny", "150m", "110")
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "big"}, Spec: func() corev1.PodSpec {
		s := testPodSpec("v1")
		s.NodeName = "tiny"
		return s
	}()})
	w.settle()
	w.put(DaemonSets, testDaemonSet("log"))
	w.converge()
	if all := strings.Join(w.trace, "\n"); !slices.Equal(w.on("log"), []string{"", "n1"}) ||
		!strings.Contains(all, "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector.") {
		t.Fatalf("pods on %q:\n%s", w.on("log"), all)
	}
	if s := w.daemonSet("log").Status; s.CurrentNumberScheduled != 2 || s.NumberReady != 1 {
		t.Fatalf("status %+v", s)
	}
	w.deleteNamed("big", 0)
	w.converge()
	if got := w.on("log"); !slices.Equal(got, []string{"n1", "tiny"}) {
		t.Fatalf("pods on %v", got)
	}
}

// A pod that ends again and again is replaced after growing delays.
func TestFailedDaemonPodsBackOff(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(DaemonSets, testDaemonSet("log"))
	w.settle()
	var took []time.Duration
	for range 4 {
		old := w.podOf("log", "n1")
		w.setStatus(old, corev1.PodFailed, false)
		began := w.now
		for w.podOf("log", "n1") == nil || w.podOf("log", "n1").UID == old.UID {
			w.settle()
			if p := w.podOf("log", "n1"); p == nil || p.UID == old.UID {
				_, next := w.e.Step(w.now)
				if next.IsZero() {
					t.Fatal("nobody comes back for the failed pod")
				}
				w.now = next
			}
		}
		took = append(took, w.now.Sub(began))
	}
	if want := []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second}; !slices.Equal(took, want) {
		t.Fatalf("replaced after %v, not %v", took, want)
	}
}

// Going back to a template that part of the pods never left restarts none of those (AP009).
func TestDaemonSetGoesBackWithoutNeedlessRestarts(t *testing.T) {
	w := standardWorld(t, 1, 4)
	w.put(DaemonSets, testDaemonSet("log"))
	w.converge()
	before := w.mine("log")
	w.changeSet(t, "daemonset", "log", "image", "broken")
	w.settle() // one pod is deleted
	w.work()
	w.settle() // and made anew; it never becomes ready
	w.changeSet(t, "daemonset", "log", "image", "v1")
	w.converge()
	kept := 0
	for uid := range w.mine("log") {
		if before[uid] != nil {
			kept++
		}
	}
	if kept != 3 || w.daemonSet("log").Status.UpdatedNumberScheduled != 4 || len(w.list(ControllerRevisions)) != 2 {
		t.Fatalf("%d of 4 pods were kept, status %+v", kept, w.daemonSet("log").Status)
	}
}

func TestDaemonSetOnDelete(t *testing.T) {
	w := standardWorld(t, 1, 2)
	d := testDaemonSet("log")
	d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	w.put(DaemonSets, d)
	w.converge()
	w.changeSet(t, "daemonset", "log", "image", "v2")
	w.converge()
	w.deleteNamed(w.podOf("log", "n1").Name, -1)
	w.converge()
	if got := fmt.Sprint(w.byNode("log")); got != "map[n1:[v2] n2:[v1]]" {
		t.Fatalf("pods are %s", got)
	}
	d = w.daemonSet("log")
	if d.Status.UpdatedNumberScheduled != 1 {
		t.Fatalf("status %+v", d.Status)
	}
	d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{}
	api.KindFor(DaemonSets).Default(d)
	w.put(DaemonSets, d)
	w.converge()
	if got := fmt.Sprint(w.byNode("log")); got != "map[n1:[v2] n2:[v2]]" {
		t.Fatalf("pods are %s", got)
	}
}

// A namespace's labels, or a limit, may keep pods out: they come everywhere once it is gone.
func TestRefusedDaemonPodsComeLater(t *testing.T) {
	w := standardWorld(t, 1, 3)
	refuse := true
	w.e.cfg.PreparePod = func(p *corev1.Pod, _ *corev1.ServiceAccount, _ Facts) error {
		if refuse {
			return fmt.Errorf("pods %q is forbidden: no", p.GenerateName)
		}
		return nil
	}
	w.put(Accounts, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	w.put(DaemonSets, testDaemonSet("log"))
	w.converge()
	if len(w.mine("log")) != 0 || w.daemonSet("log").Status.DesiredNumberScheduled != 3 {
		t.Fatalf("there are %v", w.on("log"))
	}
	refuse = false
	w.put(LimitRanges, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "l"}})
	w.converge()
	if got := w.on("log"); len(got) != 3 {
		t.Fatalf("pods on %v", got)
	}
}
