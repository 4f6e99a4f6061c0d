package kube_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestWire6EphemeralContainers(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	made, err := pods.Create(ctx, pod("p", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"peapod/demo","targetContainerName":"main"}],"nodeName":"elsewhere"}}`)
	got, err := pods.Patch(ctx, "p", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "ephemeralcontainers")
	if err != nil || len(got.Spec.EphemeralContainers) != 1 || got.Spec.NodeName != "" || got.Generation != made.Generation+1 {
		t.Fatalf("%+v, %v", got.Spec, err)
	}
	ports := []byte(`{"spec":{"ephemeralContainers":[{"name":"serves","image":"i","ports":[{"containerPort":80,"hostPort":80}]}]}}`)
	if _, err := pods.Patch(ctx, "p", types.StrategicMergePatchType, ports, metav1.PatchOptions{}, "ephemeralcontainers"); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), "ports: Forbidden: cannot be set for an Ephemeral Container") {
		t.Errorf("one with a port of the node: %v", err)
	}
	got.Spec.EphemeralContainers[0].Image = "other"
	if _, err := pods.UpdateEphemeralContainers(ctx, "p", got, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "may not be changed") {
		t.Errorf("changing one: %v", err)
	}
	got.Spec.EphemeralContainers = nil
	if _, err := pods.UpdateEphemeralContainers(ctx, "p", got, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "may not be removed") {
		t.Errorf("removing one: %v", err)
	}
	if _, err := pods.Patch(ctx, "missing", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "ephemeralcontainers"); !apierrors.IsNotFound(err) {
		t.Errorf("of no pod: %v", err)
	}
}

func TestWire6Resize(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	p := pod("p", "")
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m")}
	made, err := pods.Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := pods.Patch(ctx, "p", types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"200m"}}}]}}`), metav1.PatchOptions{}, "resize")
	if err != nil || got.Spec.Containers[0].Resources.Requests.Cpu().String() != "200m" || got.Generation != made.Generation+1 {
		t.Fatalf("%+v, %v", got, err)
	}
	for fault, patch := range map[string]string{
		"QOS Class may not change": `{"spec":{"containers":[{"name":"main","resources":{"requests":null}}]}}`,
		"spec":                     `{"spec":{"containers":[{"name":"more","image":"x"}]}}`,
	} {
		if _, err := pods.Patch(ctx, "p", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v", patch, err)
		}
	}
}

func TestWire8OldBindingsAndComponents(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	if _, err := h.client.CoreV1().Pods("default").Create(ctx, pod("p", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("bindings").Body(bind).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	if p, err := h.client.CoreV1().Pods("default").Get(ctx, "p", metav1.GetOptions{}); err != nil || p.Spec.NodeName != "n1" {
		t.Errorf("%+v, %v", p.Spec, err)
	}
	list, err := h.client.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 3 || list.Items[0].Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = h.client.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=scheduler"}); err != nil || len(list.Items) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := h.client.CoreV1().ComponentStatuses().Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestBindingsAndEvictionsAreChecked(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, pod("p", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Minion"}}
	if err := pods.Bind(ctx, bind, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "target.kind: Unsupported value") || !strings.Contains(err.Error(), "target.name: Required value") {
		t.Errorf("%v", err)
	}
	policy := metav1.DeletionPropagation("Sideways")
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}, DeleteOptions: &metav1.DeleteOptions{PropagationPolicy: &policy}}
	if err := pods.EvictV1(ctx, eviction); !apierrors.IsInvalid(err) {
		t.Errorf("%v", err)
	}
}
