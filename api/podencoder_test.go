package api

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// encodedPods are records that differ in what the encoder treats differently. Those of one template come one after the other, and
// a template that has a mark of its own is among them.
func encodedPods(t *testing.T) []*PodRecord {
	t.Helper()
	grace, controller := int64(3), true
	web := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Namespace: "default", Labels: map[string]string{"app": "<web>", "b": "2"},
		Annotations: map[string]string{"note": "a \"quoted\" ü"}, Finalizers: []string{"example.com/x"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "u", Controller: &controller}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "m", Operation: "Update", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{}}`)}}}},
		Spec: corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}, TerminationGracePeriodSeconds: &grace, HostNetwork: true,
			Containers: []corev1.Container{{Name: "main", Image: "peapod/demo"}}}}
	marked := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{"x": markNode}}}
	now := metav1.NewTime(time.Unix(1_800_000_000, 0))
	running := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.7", StartTime: &now,
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}}}
	noPhase := corev1.PodStatus{Message: "no phase"}
	var out []*PodRecord
	pinned := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{"app": "log"}}}
	PinTo(&pinned.Spec, "")
	for _, pod := range []*corev1.Pod{web, marked, pinned, {}} {
		template, err := NewPodTemplate(pod)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []PodRecord{
			{Name: "a", UID: "1", Node: "n1", Revision: 7, Created: 1_700_000_000, Generation: 1},
			{Name: "b", UID: "2", Revision: 8, Created: 1_700_000_001, Generation: 1},
			{Name: "c", UID: "<3>\n\"", Node: "n/1 ", Revision: 9, Created: 1_700_000_002, Generation: 300, DeletionTime: 1_700_000_100, DeletionGrace: 30},
			{Name: "d", UID: "4", Revision: 10, Created: 1},
			{Name: "e", UID: "5", Revision: 11, Created: 1_700_000_003, Generation: 2, DeletionTime: 1_700_000_101},
			{Name: "f", UID: "6", Revision: 12, Created: noTime, Generation: 1},
		} {
			for _, status := range []*corev1.PodStatus{nil, &running, &noPhase} {
				r := r
				r.Template = template
				if status != nil {
					encoded, err := status.Marshal()
					if err != nil || r.SetStatus(encoded) != nil {
						t.Fatal("a status does not encode")
					}
				}
				out = append(out, &r)
			}
		}
	}
	return out
}

func TestPodsAreEncodedAsTheirTypedFormIs(t *testing.T) {
	var e PodEncoder
	for _, r := range encodedPods(t) {
		wantProto, err := r.Pod().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		wantJSON, err := json.Marshal(r.Pod())
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.AppendProto([]byte("before"), r)
		if err != nil || !bytes.Equal(got, append([]byte("before"), wantProto...)) {
			t.Errorf("pod %s as protobuf (%v):\n%q\nthe typed one is\n%q", r.Name, err, got, wantProto)
		}
		got, err = e.AppendJSON([]byte("before"), r)
		if err != nil || string(got) != "before"+string(wantJSON) {
			t.Errorf("pod %s as JSON (%v):\n%s\nthe typed one is\n%s", r.Name, err, got, wantJSON)
		}
	}
}

// Cut templates are what makes lists cheap: an ordinary one must be cut, one that holds a mark must not.
func TestOrdinaryTemplatesAreCut(t *testing.T) {
	for node, parts := range map[bool]int{false: 6, true: 7} {
		if got, err := cutJSON(&corev1.Pod{}, node); err != nil || len(got) != parts {
			t.Errorf("with node %v: %d parts, %v", node, len(got), err)
		}
	}
	marked := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"x": markName}}}
	if got, err := cutJSON(marked, false); err != nil || len(got) != 0 {
		t.Errorf("a template with a mark was cut into %d parts, %v", len(got), err)
	}
}
