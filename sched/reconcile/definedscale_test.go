package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// widgetWorld has a kind of custom resource that says how many pods it wants, one object of it, and its pods, as its operator made them.
func widgetWorld(t *testing.T, pods int) *world {
	w := standardWorld(t, 1, 3)
	w.put(Definitions, &api.Document{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.shop.example", UID: "crd"},
		Rest: []byte(`{"spec":{"group":"shop.example","names":{"kind":"Widget","plural":"widgets"},"versions":[{"name":"v0"},{"name":"v1","subresources":{"scale":
			{"specReplicasPath":".spec.size","statusReplicasPath":".status.ready.now","labelSelectorPath":".status.selector"}}}]}}`)})
	widget := testWidget("big")
	widget.Rest = fmt.Appendf(nil, `{"spec":{"size":%d,"colour":"red"},"status":{"selector":"app=web","ready":{"now":%d}}}`, pods, pods)
	w.put(widgets, widget)
	for i := range pods {
		w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("w%d", i), UID: types.UID(fmt.Sprint("w", i)),
			Labels: map[string]string{"app": "web"}, OwnerReferences: []metav1.OwnerReference{controllingWidget("big")}}, Spec: testPodSpec("v1")})
	}
	w.converge()
	return w
}

func controllingWidget(name string) metav1.OwnerReference {
	o, yes := widgetOwner(name), true
	o.Controller = &yes
	return o
}

func (w *world) widget() string {
	return string(w.objects[ref{widgets, "default", "big"}].obj.(*api.Document).Rest)
}

func TestAutoscalerOfACustomResource(t *testing.T) {
	w := widgetWorld(t, 2)
	w.put(Autoscalers, testAutoscaler("Widget", "shop.example/v1", "big", 50))
	w.converge()
	w.old()
	w.now = w.now.Add(15 * time.Second)
	w.measure(100)
	if want := `{"spec":{"colour":"red","size":4},"status":{"ready":{"now":2},"selector":"app=web"}}`; w.widget() != want {
		t.Errorf("the widget is %s, want %s; %+v", w.widget(), want, w.autoscaler().Status)
	}
	if s := w.autoscaler().Status; s.CurrentReplicas != 2 || s.DesiredReplicas != 4 {
		t.Errorf("%+v", s)
	}
}

// TestBudgetOfACustomResource: what a custom resource wants counts, and goes on to count when it changes.
func TestBudgetOfACustomResource(t *testing.T) {
	w := widgetWorld(t, 2)
	w.put(Budgets, testBudget("", "1", webOnly()))
	w.converge()
	if s := w.budget().Status; s.ExpectedPods != 2 || s.DisruptionsAllowed != 1 || s.DesiredHealthy != 1 {
		t.Fatalf("%+v", s)
	}
	bigger := w.objects[ref{widgets, "default", "big"}].obj.DeepCopyObject().(*api.Document)
	bigger.Rest = []byte(`{"spec":{"size":3}}`)
	w.put(widgets, bigger)
	w.converge()
	if s := w.budget().Status; s.ExpectedPods != 3 || s.DisruptionsAllowed != 0 {
		t.Fatalf("after it grew: %+v", s)
	}
}

func TestScaleOfAKindThatHasNone(t *testing.T) {
	for _, c := range []struct {
		what, kind, version string
		undefine            bool
	}{
		{"a version without it", "Widget", "shop.example/v0", false},
		{"a kind that is gone", "Widget", "shop.example/v1", true},
		{"a kind that never was", "Gadget", "shop.example/v1", false},
	} {
		w := widgetWorld(t, 2)
		if c.version == "shop.example/v0" {
			old := w.objects[ref{widgets, "default", "big"}].obj.DeepCopyObject().(*api.Document)
			old.APIVersion = c.version
			w.put(widgets, old)
		}
		if c.undefine {
			w.apply([]ops.Op{&ops.Delete{Resource: Definitions, Name: "widgets.shop.example", Expect: ops.Any}})
		}
		before := w.widget()
		w.put(Autoscalers, testAutoscaler(c.kind, c.version, "big", 50))
		w.converge()
		w.old()
		w.now = w.now.Add(15 * time.Second)
		w.measure(100)
		if w.widget() != before {
			t.Errorf("%s: the widget is %s, was %s", c.what, w.widget(), before)
		}
		if s := w.autoscaler().Status; len(s.Conditions) == 0 || s.DesiredReplicas != 0 && s.DesiredReplicas != s.CurrentReplicas {
			t.Errorf("%s: %+v", c.what, s)
		}
	}
}

// TestScaleThatIsNotSet: an object that does not say how many pods it wants is no object that wants none.
func TestScaleThatIsNotSet(t *testing.T) {
	for rest, says := range map[string]string{
		`{"spec":{"colour":"red"},"status":{"selector":"app=web"}}`: `the spec replicas field ".spec.size" does not exist`,
		`{"spec":{"size":"two"}}`:                                   `is of the type string, expected int64`,
	} {
		w := widgetWorld(t, 2)
		bare := testWidget("big")
		bare.Rest = []byte(rest)
		w.put(widgets, bare)
		w.put(Autoscalers, testAutoscaler("Widget", "shop.example/v1", "big", 50))
		w.put(Budgets, testBudget("", "1", webOnly()))
		w.converge()
		w.old()
		w.now = w.now.Add(15 * time.Second)
		w.measure(100)
		if c := w.autoscaler().Status.Conditions; len(c) != 1 || c[0].Reason != "FailedGetScale" || !strings.Contains(c[0].Message, says) {
			t.Errorf("%s: the autoscaler says %+v", rest, c)
		}
		if c := w.budget().Status.Conditions; len(c) != 1 || c[0].Reason != "SyncFailed" || !strings.Contains(c[0].Message, says) {
			t.Errorf("%s: the budget says %+v", rest, c)
		}
		if w.widget() != rest {
			t.Errorf("%s: became %s", rest, w.widget())
		}
	}
}
