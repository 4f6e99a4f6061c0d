package reconcile

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/api/ops"
)

// zoned is a world with two nodes in zone a, one in zone b, and one that does not say.
func zoned(t *testing.T) *world {
	w := standardWorld(t, 1, 4)
	for i, zone := range []string{"a", "a", "b"} {
		w.change(Nodes, "", fmt.Sprintf("n%d", i+1), func(o runtime.Object) {
			mustMeta(o).SetLabels(map[string]string{corev1.LabelTopologyZone: zone, corev1.LabelTopologyRegion: "r", "other": "x"})
		})
	}
	return w
}

func (w *world) checkPlaces() (seen map[string]int) {
	w.t.Helper()
	seen = map[string]int{}
	for _, p := range w.pods {
		zone := w.objects[ref{Nodes, "", p.Node}].meta.GetLabels()[corev1.LabelTopologyZone]
		got := p.Labels()
		if got[corev1.LabelTopologyZone] != zone || (zone != "") != (got[corev1.LabelTopologyRegion] == "r") || got["other"] != "" || got["app"] != "web" {
			w.t.Fatalf("pod %s on %s in zone %q has the labels %v", p.Name, p.Node, zone, got)
		}
		seen[zone]++
	}
	return seen
}

func TestPodsKnowTheirPlace(t *testing.T) {
	w := zoned(t)
	w.put(Deployments, testDeployment("web", 8))
	w.converge()
	if seen := w.checkPlaces(); len(seen) != 3 || seen["a"]+seen["b"]+seen[""] != 8 {
		t.Fatalf("pods by zone: %v", seen)
	}
	if d := w.deployment("web"); d.Status.AvailableReplicas != 8 || d.Status.UpdatedReplicas != 8 {
		t.Fatalf("%+v", d.Status)
	}
}

func TestBoundPodsKnowTheirPlace(t *testing.T) {
	w := zoned(t)
	for i := range 6 {
		w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%d", i), Labels: map[string]string{"app": "web"}}, Spec: testPodSpec("v1")})
	}
	w.converge()
	if seen := w.checkPlaces(); seen["a"] == 0 || seen["b"] == 0 {
		t.Fatalf("pods by zone: %v", seen)
	}
	for _, p := range w.pods {
		s := p.DecodeStatus()
		if c := podCondition(&s, corev1.PodReady); !p.Status.Ready() || c == nil {
			t.Fatalf("%s has not started: %+v", p.Name, s)
		}
	}
	if n := w.e.table; n == nil || len(w.e.pending.waiting)+len(w.e.pending.fresh) != 0 {
		t.Fatal("pods are still waiting")
	}
}

// A binding that fails is made again.
func TestBindingThatFailsIsMadeAgain(t *testing.T) {
	w := zoned(t)
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"app": "web"}}, Spec: testPodSpec("v1")})
	out, _ := w.e.Step(w.now)
	p := w.pods[nn("default", "p")].Pod()
	p.Labels = map[string]string{"app": "web", "late": "yes"} // somebody is faster
	w.apply([]ops.Op{&ops.Put{Resource: Pods, Object: p, Expect: ops.Any}})
	w.apply(out)
	w.converge()
	if rec := w.pods[nn("default", "p")]; rec.Node == "" || rec.Labels()["late"] != "yes" {
		t.Fatalf("%s with %v", rec.Node, rec.Labels())
	}
	w.checkPlaces()
}

// TestSpreadCountsNobodyWhoGoes: what takes the place of pods on a node that has died is not spread as if they were still there, although
// it is decided in the step that deletes them; and is, once the node is no more. Invariant 215.
func TestSpreadCountsNobodyWhoGoes(t *testing.T) {
	w := standardWorld(t, 1, 0)
	for _, name := range []string{"n1", "n2", "n3"} {
		w.addNode(name, "4", "110")
		w.labelNode(name, map[string]string{corev1.LabelHostname: name})
	}
	d := testDeployment("web", 3)
	d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
		WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: d.Spec.Selector}}
	w.put(Deployments, d)
	w.converge()
	w.dead["n1"] = true
	w.e.NodeDown("n1")
	w.converge()
	if on := w.podsOn(); on["n1"] != 0 || on["n2"] != 1 || on["n3"] != 1 || on[""] != 1 {
		t.Fatalf("a domain is empty, and %v", on)
	}
	delete(w.dead, "n1")
	w.deleteNow(t, ref{Nodes, "", "n1"})
	w.converge()
	if on := w.podsOn(); on["n2"]+on["n3"] != 3 {
		t.Fatalf("there are two nodes, and %v\n%s", on, strings.Join(w.trace, "\n"))
	}
}
