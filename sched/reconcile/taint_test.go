package reconcile

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

func tolerating(seconds ...int64) (out []corev1.Toleration) {
	for _, s := range seconds {
		t := corev1.Toleration{Key: "maint", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
		if s >= 0 {
			t.TolerationSeconds = &s
		}
		out = append(out, t)
	}
	return out
}

func (w *world) barePod(name, node string, tolerations []corev1.Toleration) {
	spec := testPodSpec("v1")
	spec.NodeName, spec.Tolerations = node, tolerations
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}, Spec: spec})
}

func (w *world) taintWith(node string, taints ...corev1.Taint) {
	n := w.objects[ref{Nodes, "", node}].obj.(*corev1.Node).DeepCopy()
	n.Spec.Taints = taints
	w.put(Nodes, n)
	w.settle()
}

func (w *world) podRecord(name string) *api.PodRecord {
	return w.pods[types.NamespacedName{Namespace: "default", Name: name}]
}

var maintenance = corev1.Taint{Key: "maint", Value: "x", Effect: corev1.TaintEffectNoExecute}

// TestTolerationSeconds: the shortest of the tolerations that match is the time that a pod has.
func TestTolerationSeconds(t *testing.T) {
	for _, c := range []struct {
		name        string
		tolerations []corev1.Toleration
		stays       int // seconds; -1 is for ever
	}{
		{"none", nil, 0},
		{"for ever", tolerating(-1), -1},
		{"ten", tolerating(10), 10},
		{"zero", tolerating(0), 0},
		{"shortest", tolerating(30, 10, 20), 10},
		{"for-ever-and-ten", tolerating(-1, 10), 10},
		{"another-key", []corev1.Toleration{{Key: "other", Operator: corev1.TolerationOpExists}}, 0},
		{"another-value", []corev1.Toleration{{Key: "maint", Operator: corev1.TolerationOpEqual, Value: "y"}}, 0},
		{"another-effect", []corev1.Toleration{{Key: "maint", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}, 0},
		{"everything", []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := standardWorld(t, 1, 1)
			w.barePod("p", "n1", c.tolerations)
			w.converge()
			w.taintWith("n1", maintenance)
			began := w.now
			for s := range 40 {
				w.now = began.Add(time.Duration(s) * time.Second)
				w.settle()
				gone := w.podRecord("p") == nil || w.podRecord("p").Deleting()
				if gone != (c.stays >= 0 && s >= c.stays) {
					t.Fatalf("after %d s: gone is %v", s, gone)
				}
			}
		})
	}
}

func TestTaintEvictionSaysWhy(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.barePod("p", "n1", nil)
	w.converge()
	w.taintWith("n1", maintenance)
	s := w.podRecord("p").DecodeStatus()
	c := podCondition(&s, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason != "DeletionByTaintManager" || c.Message != "Taint manager: deleting due to NoExecute taint" {
		t.Fatalf("%+v", s.Conditions)
	}
	if !w.told("TaintManagerEviction", "Marking for deletion Pod default/p") {
		t.Error("no event")
	}
}

// TestTaintThatGoes cancels what has not happened yet, and a second taint begins a time of its own.
func TestTaintThatGoes(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.barePod("p", "n1", tolerating(10))
	w.barePod("q", "n1", tolerating(3))
	w.converge()
	w.taintWith("n1", maintenance)
	w.now = w.now.Add(5 * time.Second)
	w.settle()
	w.taintWith("n1")
	if !w.told("TaintManagerEviction", "Cancelling deletion of Pod default/p") || w.told("TaintManagerEviction", "Cancelling deletion of Pod default/q") {
		t.Error("the wrong events")
	}
	if q := w.podRecord("q"); q != nil && !q.Deleting() {
		t.Error("q stays")
	}
	w.now = w.now.Add(time.Minute)
	w.settle()
	if w.podRecord("p").Deleting() {
		t.Fatal("p goes although the taint has gone")
	}
	w.taintWith("n1", maintenance)
	w.now = w.now.Add(9 * time.Second)
	w.settle()
	if w.podRecord("p").Deleting() {
		t.Fatal("p goes before its time")
	}
	w.now = w.now.Add(2 * time.Second)
	w.settle()
	if !w.podRecord("p").Deleting() {
		t.Fatal("p stays after its time")
	}
	w.work()
	if len(w.e.sentenced) != 0 {
		t.Errorf("%d pods are still to go", len(w.e.sentenced))
	}
}

func (w *world) told(reason, message string) bool {
	return slices.ContainsFunc(w.list(Events), func(o *object) bool {
		e := o.obj.(*corev1.Event)
		return e.Reason == reason && strings.Contains(e.Message, message)
	})
}

// TestConditionsBecomeTaints: what a node says of itself keeps pods away from it, for as long as it says so.
func TestConditionsBecomeTaints(t *testing.T) {
	for _, c := range []struct {
		condition corev1.NodeConditionType
		status    corev1.ConditionStatus
		want      string
	}{
		{corev1.NodeMemoryPressure, corev1.ConditionTrue, "node.kubernetes.io/memory-pressure:NoSchedule"},
		{corev1.NodeDiskPressure, corev1.ConditionTrue, "node.kubernetes.io/disk-pressure:NoSchedule"},
		{corev1.NodePIDPressure, corev1.ConditionTrue, "node.kubernetes.io/pid-pressure:NoSchedule"},
		{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, "node.kubernetes.io/network-unavailable:NoSchedule"},
		{corev1.NodeReady, corev1.ConditionFalse, "node.kubernetes.io/not-ready:NoExecute node.kubernetes.io/not-ready:NoSchedule"},
		{corev1.NodeMemoryPressure, corev1.ConditionFalse, ""},
	} {
		w := standardWorld(t, 1, 1)
		n := w.objects[ref{Nodes, "", "n1"}].obj.(*corev1.Node).DeepCopy()
		healthy := slices.Clone(n.Status.Conditions)
		n.Status.Conditions = slices.DeleteFunc(n.Status.Conditions, func(x corev1.NodeCondition) bool { return x.Type == c.condition })
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c.condition, Status: c.status})
		w.put(Nodes, n)
		w.settle()
		if got := taintsOf(w, "n1"); got != c.want {
			t.Errorf("%s is %s: %q", c.condition, c.status, got)
		}
		n = w.objects[ref{Nodes, "", "n1"}].obj.(*corev1.Node).DeepCopy()
		n.Status.Conditions = healthy
		w.put(Nodes, n)
		w.settle()
		if got := taintsOf(w, "n1"); got != "" {
			t.Errorf("after %s: %q", c.condition, got)
		}
	}
}

func taintsOf(w *world, node string) string {
	var out []string
	for _, x := range w.objects[ref{Nodes, "", node}].obj.(*corev1.Node).Spec.Taints {
		out = append(out, x.Key+":"+string(x.Effect))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
