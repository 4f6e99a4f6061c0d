package reconcile

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

var widgets = schema.GroupResource{Group: "shop.example", Resource: "widgets"}

func testWidget(name string, owners ...metav1.OwnerReference) *api.Document {
	return &api.Document{TypeMeta: metav1.TypeMeta{APIVersion: "shop.example/v1", Kind: "Widget"}, Rest: []byte(`{"spec":{}}`),
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("w-" + name), OwnerReferences: owners}}
}

func widgetOwner(name string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "shop.example/v1", Kind: "Widget", Name: name, UID: types.UID("w-" + name), BlockOwnerDeletion: &yes}
}

func widgetDefinition() *api.Document {
	return &api.Document{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.shop.example", UID: "crd"}, Rest: []byte(`{"spec":{"group":"shop.example","names":{"kind":"Widget"}}}`)}
}

func ownedMap(name string, owner metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{owner}}}
}

func TestCustomResourcesOwnAndAreOwned(t *testing.T) {
	for _, policy := range []string{"", metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents} {
		w := standardWorld(t, 4, 1)
		w.put(widgets, testWidget("top"))
		w.put(widgets, testWidget("below", widgetOwner("top")))
		w.put(ConfigMaps, ownedMap("owned", widgetOwner("top")))
		w.converge()
		if policy == "" {
			w.apply([]ops.Op{&ops.Delete{Resource: widgets, Namespace: "default", Name: "top", Expect: ops.Any}})
		} else {
			top := w.e.objects[ref{widgets, "default", "top"}].obj.DeepCopyObject().(*api.Document)
			at, zero := metav1.NewTime(w.now), int64(0)
			top.DeletionTimestamp, top.DeletionGracePeriodSeconds, top.Finalizers = &at, &zero, []string{policy}
			w.put(widgets, top)
		}
		w.converge()
		want := 0
		if policy == metav1.FinalizerOrphanDependents {
			want = 1
		}
		maps := slices.DeleteFunc(w.list(ConfigMaps), func(o *object) bool { return o.name != "owned" })
		if left := w.list(widgets); len(left) != want || len(maps) != want {
			t.Errorf("policy %q leaves %d widgets, %d maps, wanted %d each", policy, len(left), len(maps), want)
		}
	}
}

// TestOwnerOfADefinedKindThatIsNotThere: what a term before this one has not cleared up is cleared up if the owner's kind is known.
func TestOwnerOfADefinedKindThatIsNotThere(t *testing.T) {
	for _, defined := range []bool{true, false} {
		w := standardWorld(t, 4, 1)
		w.put(ConfigMaps, ownedMap("owned", widgetOwner("gone")))
		if defined {
			w.put(Definitions, widgetDefinition())
		}
		w.put(ConfigMaps, ownedMap("late", widgetOwner("gone")))
		w.converge()
		if there := w.e.objects[ref{ConfigMaps, "default", "late"}] != nil; there == defined {
			t.Errorf("with a definition %v, a dependent of nobody is there: %v", defined, there)
		}
	}
}
