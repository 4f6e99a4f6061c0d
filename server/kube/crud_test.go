package kube_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"a": "1"}}
}

func TestWritingConfigMap(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	made, err := cms.Create(ctx, configMap("one"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() || len(made.ManagedFields) != 1 {
		t.Fatalf("metadata is not filled in: %+v", made.ObjectMeta)
	}
	if _, err := cms.Create(ctx, configMap("one"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating it again: %v", err)
	}
	got, err := cms.Get(ctx, "one", metav1.GetOptions{})
	if err != nil || got.Data["a"] != "1" || got.ResourceVersion != made.ResourceVersion {
		t.Fatalf("got %+v, %v", got, err)
	}
	got.Data["a"] = "2"
	changed, err := cms.Update(ctx, got, metav1.UpdateOptions{})
	if err != nil || changed.ResourceVersion == made.ResourceVersion {
		t.Fatalf("update: %+v, %v", changed, err)
	}
	got.Data["a"] = "3" // got has the old revision
	if _, err := cms.Update(ctx, got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("updating an old revision: %v", err)
	}
	same, err := cms.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != changed.ResourceVersion {
		t.Fatalf("an update that changes nothing: %+v, %v", same, err)
	}
	patched, err := cms.Patch(ctx, "one", types.StrategicMergePatchType, []byte(`{"data":{"b":"x"}}`), metav1.PatchOptions{})
	if err != nil || patched.Data["b"] != "x" || patched.Data["a"] != "2" {
		t.Fatalf("patch: %+v, %v", patched, err)
	}
	if err := cms.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cms.Get(ctx, "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after the deletion: %v", err)
	}
}
