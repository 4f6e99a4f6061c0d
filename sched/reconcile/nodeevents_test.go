package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// wordsOf are the reasons of the events about a node, with how often each was said.
func (w *world) wordsOf(node string) map[string]int32 {
	out := map[string]int32{}
	for _, o := range w.list(Events) {
		if ev := o.obj.(*corev1.Event); ev.InvolvedObject.Kind == "Node" && ev.InvolvedObject.Name == node {
			out[ev.Source.Component+" "+ev.Reason] += ev.Count
		}
	}
	return out
}

func (w *world) condition(node string, t corev1.NodeConditionType, s corev1.ConditionStatus) {
	w.change(Nodes, "", node, func(o runtime.Object) {
		n := o.(*corev1.Node)
		if c := nodeCondition(n, t); c != nil {
			c.Status = s
			return
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: t, Status: s})
	})
}

func TestNodesHaveEvents(t *testing.T) {
	w := standardWorld(t, 1, 1)
	if got := w.wordsOf("n1"); len(got) != 2 || got["kubelet NodeReady"] != 1 || got["node-controller RegisteredNode"] != 1 {
		t.Fatalf("a new node: %v", got)
	}
	w.condition("n1", corev1.NodeMemoryPressure, corev1.ConditionFalse)
	w.condition("n1", corev1.NodeMemoryPressure, corev1.ConditionTrue)
	w.condition("n1", corev1.NodeMemoryPressure, corev1.ConditionTrue) // nothing new
	w.condition("n1", corev1.NodeReady, corev1.ConditionFalse)
	got := w.wordsOf("n1")
	if len(got) != 5 || got["kubelet NodeHasSufficientMemory"] != 1 || got["kubelet NodeHasInsufficientMemory"] != 1 || got["kubelet NodeNotReady"] != 1 {
		t.Fatalf("%v", got)
	}
}

// What kubectl cordon and uncordon do is seen in the node's events.
func TestCordonsHaveEvents(t *testing.T) {
	w := standardWorld(t, 1, 1)
	for _, cordoned := range []bool{true, true, false} {
		w.change(Nodes, "", "n1", func(o runtime.Object) { o.(*corev1.Node).Spec.Unschedulable = cordoned })
		w.settle()
	}
	if got := w.wordsOf("n1"); got["kubelet NodeNotSchedulable"] != 1 || got["kubelet NodeSchedulable"] != 1 {
		t.Fatalf("%v", got)
	}
}

// A new leader is shown every node, also those for which there was no block of addresses, and has nothing to tell of them.
func TestNewLeaderSaysNothingOfOldNodes(t *testing.T) {
	for _, cluster := range []string{"10.42.0.0/16", "10.42.0.0/23"} {
		w := newWorld(t, 1)
		w.e = New(Config{Seed: 1, ClusterCIDR: netip.MustParsePrefix(cluster)})
		w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		for i := range 3 {
			w.addNode(fmt.Sprintf("n%d", i), "4", "10")
		}
		w.converge()
		if got := w.wordsOf("n2"); got["node-controller RegisteredNode"] != 1 {
			t.Fatalf("a new node in %s: %v", cluster, got)
		}
		before := w.rev
		w.restart(2)
		if w.converge(); w.rev != before {
			t.Fatalf("a new leader of %s writes:\n%s", cluster, strings.Join(w.trace, "\n"))
		}
		w.addNode("n3", "4", "10")
		w.converge()
		if got := w.wordsOf("n3"); got["node-controller RegisteredNode"] != 1 {
			t.Fatalf("a new node of the new leader of %s: %v", cluster, got)
		}
	}
}

// A node that lives and is not ready keeps its pods for as long as they say that they tolerate it.
func TestNotReadyNodeLosesItsPodsInTime(t *testing.T) {
	w := standardWorld(t, 1, 2)
	seconds := int64(300)
	d := testDeployment("web", 2)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}}
	w.put(Deployments, d)
	w.converge()
	w.condition("n1", corev1.NodeReady, corev1.ConditionFalse)
	keys := []string{}
	for _, taint := range w.objects[ref{Nodes, "", "n1"}].obj.(*corev1.Node).Spec.Taints {
		keys = append(keys, taint.Key+":"+string(taint.Effect))
	}
	if slices.Sort(keys); !slices.Equal(keys, []string{"node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/not-ready:NoSchedule"}) {
		t.Fatalf("taints %v", keys)
	}
	w.now = w.now.Add(299 * time.Second)
	w.converge()
	if on := w.podsOn(); on["n1"] == 0 {
		t.Fatalf("pods left before their time: %v", on)
	}
	w.now = w.now.Add(2 * time.Second)
	w.converge()
	if on := w.podsOn(); on["n1"] != 0 || on["n2"] != 2 {
		t.Fatalf("pods by node: %v", on)
	}
}

func TestNodeThatIsReadyAgainKeepsItsPods(t *testing.T) {
	w := standardWorld(t, 1, 1)
	seconds := int64(300)
	d := testDeployment("web", 1)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
	w.put(Deployments, d)
	w.converge()
	w.condition("n1", corev1.NodeReady, corev1.ConditionFalse)
	w.now = w.now.Add(200 * time.Second)
	w.condition("n1", corev1.NodeReady, corev1.ConditionTrue)
	w.now = w.now.Add(200 * time.Second)
	w.converge()
	if on := w.podsOn(); on["n1"] != 1 {
		t.Fatalf("pods by node: %v", on)
	}
}
