package kube_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// An event is one object, whichever group it is written and read through.
func TestWire8EventsOfBothGroupsAreOne(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	newer, older := h.client.EventsV1().Events("default"), h.client.CoreV1().Events("default")
	w, err := older.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e := &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: metav1.NowMicro(), ReportingController: "a.b/c", ReportingInstance: "i",
		Action: "Go", Reason: "Went", Type: "Normal", Note: "it went", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}}
	made, err := newer.Create(ctx, e, metav1.CreateOptions{})
	if err != nil || made.Note != "it went" || made.APIVersion != "" && made.APIVersion != "events.k8s.io/v1" {
		t.Fatalf("%+v, %v", made, err)
	}
	got, err := older.Get(ctx, "e", metav1.GetOptions{})
	if err != nil || got.Message != "it went" || got.InvolvedObject.Name != "p" || got.ReportingController != "a.b/c" || got.UID != made.UID {
		t.Fatalf("%+v, %v", got, err)
	}
	select {
	case ev := <-w.ResultChan():
		if ev.Object.(*corev1.Event).Message != "it went" {
			t.Errorf("watched %+v", ev)
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch of the other group saw nothing")
	}
	got.Count = 3
	if _, err := older.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := newer.List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=p"})
	if err != nil || len(list.Items) != 1 || list.Items[0].DeprecatedCount != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	patched, err := newer.Patch(ctx, "e", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	if err != nil || patched.Labels["a"] != "b" || len(patched.ManagedFields) == 0 {
		t.Errorf("%+v, %v", patched, err)
	}
	applied, err := newer.Patch(ctx, "e", types.ApplyPatchType, []byte(`{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e","labels":{"c":"d"}}}`),
		metav1.PatchOptions{FieldManager: "m"})
	if err != nil || applied.Labels["c"] != "d" || applied.Labels["a"] != "b" {
		t.Errorf("%+v, %v", applied, err)
	}
	e.Name, e.Action = "bad", ""
	if _, err := newer.Create(ctx, e, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "action: Required value") {
		t.Errorf("the newer group's rules: %v", err)
	}
}

// Discovery names each version of a group, the preferred one first.
func TestWire1DiscoveryOrdersGroups(t *testing.T) {
	h := start(t)
	_, b := h.get("/apis", nil)
	var list metav1.APIGroupList
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, g := range list.Groups {
		at[g.Name] = i
		if g.PreferredVersion != g.Versions[0] {
			t.Errorf("%+v", g)
		}
	}
	if at["apps"] > at["events.k8s.io"] || at["events.k8s.io"] > at["authorization.k8s.io"] || at["batch"] > at["coordination.k8s.io"] {
		t.Errorf("%v", at)
	}
}
