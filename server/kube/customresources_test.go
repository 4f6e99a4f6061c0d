package kube_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// widgets is a definition with most of what definitions can have.
const widgets = `
metadata: {name: widgets.shop.example}
spec:
  group: shop.example
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd], categories: [all]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    selectableFields: [{jsonPath: .spec.color}]
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget is made of parts.
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: "self.size <= 10 || self.color == 'red'", message: only red ones are large}
            properties:
              size: {type: integer, default: 3, minimum: 0}
              color: {type: string, description: What one sees.}
              replicas: {type: integer}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
`

func definition(t *testing.T, text string, change ...func(*apiextensionsv1.CustomResourceDefinition)) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(d)
	}
	return d
}

// define makes a definition and waits until it is served.
func (h *harness) define(d *apiextensionsv1.CustomResourceDefinition) crdclient.Interface {
	h.Helper()
	c := crdclient.NewForConfigOrDie(h.config)
	if _, err := c.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), d, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
	for _, v := range d.Spec.Versions {
		if v.Served {
			h.served(schema.GroupVersionResource{Group: d.Spec.Group, Version: v.Name, Resource: d.Spec.Names.Plural})
		}
	}
	return c
}

func (h *harness) served(gvr schema.GroupVersionResource) {
	h.Helper()
	h.eventually("the resource is served", func() bool {
		_, err := h.dyn.Resource(gvr).List(context.Background(), metav1.ListOptions{})
		return err == nil
	})
}

func (h *harness) eventually(what string, is func() bool) {
	h.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("after 30 s it is not so that %s", what)
		}
	}
}

var widgetsV1 = schema.GroupVersionResource{Group: "shop.example", Version: "v1", Resource: "widgets"}

func widget(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "shop.example/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name}, "spec": spec}}
}

func (h *harness) widgets() dynamic.ResourceInterface { return h.dyn.Resource(widgetsV1).Namespace("default") }

func field(t *testing.T, o *unstructured.Unstructured, path ...string) any {
	t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCustomResourceLivesAsAnyObject(t *testing.T) {
	h := start(t)
	h.define(definition(t, widgets))
	ctx := context.Background()
	w := h.widgets()
	made, err := w.Create(ctx, widget("one", map[string]any{"color": "blue", "unknown": true}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if size, unknown := field(t, made, "spec", "size"), field(t, made, "spec", "unknown"); size != int64(3) || unknown != nil {
		t.Errorf("size is %v, wanted the default 3; unknown is %v, wanted it pruned", size, unknown)
	}
	if made.GetUID() == "" || made.GetGeneration() != 1 || made.GetResourceVersion() == "" || len(made.GetManagedFields()) == 0 {
		t.Errorf("its metadata is not whole: %v", made.Object["metadata"])
	}
	got, err := w.Get(ctx, "one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := jsonOf(t, made), jsonOf(t, got); a != b {
		t.Errorf("created\n%s\nread\n%s", a, b)
	}
	if _, err := w.Create(ctx, widget("one", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("the second of a name: %v", err)
	}
	if _, err := w.Create(ctx, widget("large", map[string]any{"size": int64(11)}), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a rule does not hold: %v", err)
	}
	patched, err := w.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{})
	if err != nil || patched.GetGeneration() != 2 {
		t.Fatalf("patched to %v, %v", patched, err)
	}
	same, err := w.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{})
	if err != nil || same.GetResourceVersion() != patched.GetResourceVersion() {
		t.Errorf("a patch of nothing wrote: %v", err)
	}
	if err := w.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Get(ctx, "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its deletion: %v", err)
	}
}

func jsonOf(t *testing.T, o any) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
