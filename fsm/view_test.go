package fsm

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
)

func TestViewYieldsObjectsAndPods(t *testing.T) {
	f := New()
	list := []ops.Op{
		&ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", GenerateName: "p-"}}, Rows: []ops.PlanRow{{Suffix: "1", UID: uid(1)}, {Suffix: "2", UID: uid(2)}}},
		&ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "b", GenerateName: "p-"}}, Rows: []ops.PlanRow{{Suffix: "3", UID: uid(3)}}},
		&ops.Put{Resource: configMaps, Object: configMap("early", "1"), Expect: ops.Absent},
		&ops.Put{Resource: services, Object: service("late", 80), Expect: ops.Absent},
	}
	f.ApplyOps(1, list)
	v := f.View()
	var got []string
	for c := range v.Objects {
		got = append(got, c.Name)
	}
	for p := range v.Pods {
		got = append(got, p.Name)
	}
	if want := []string{"early", "late", "p-1", "p-2", "p-3"}; !slices.Equal(got, want) {
		t.Errorf("the view yields %v, want %v", got, want)
	}
	if objects, pods := v.Counts(); objects != 2 || pods != 3 {
		t.Errorf("%d objects, pods by namespace: %v", objects, pods)
	}
	if objects, pods := New().View().Counts(); objects != 0 || pods != 0 {
		t.Errorf("where there is nothing: %d objects, pods by namespace: %v", objects, pods)
	}
}

// Invariant 232: clients may ask for resources of any name, of which nothing stays.
func TestQuestionsLeaveNothing(t *testing.T) {
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("one", "1"), Expect: ops.Absent}})
	for i := range 10 {
		gr := schema.GroupResource{Group: "made.up", Resource: fmt.Sprint("things", i)}
		if n := f.Table(gr).Len(); n != 0 {
			t.Errorf("%s has %d objects", gr, n)
		}
		if _, ok := f.Table(gr).Get("", "any"); ok {
			t.Errorf("%s has an object", gr)
		}
	}
	if f.Table(configMaps).Len() != 1 || len(f.tables) != 1 {
		t.Errorf("there are tables of %d resources, want 1", len(f.tables))
	}
}
