package kube_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// twoVersions makes widgets that are served as v1 and v2 too.
func twoVersions(conversion *apiextensionsv1.CustomResourceConversion) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(d *apiextensionsv1.CustomResourceDefinition) {
		v2 := *d.Spec.Versions[0].DeepCopy()
		v2.Name, v2.Storage = "v2", false
		d.Spec.Versions = append(d.Spec.Versions, v2)
		d.Spec.Conversion = conversion
	}
}

func TestCustomResourceInTwoVersions(t *testing.T) {
	h := start(t)
	c := h.define(definition(t, widgets, twoVersions(nil)))
	ctx, w := context.Background(), h.widgets()
	v2 := h.dyn.Resource(widgetsV1.GroupResource().WithVersion("v2")).Namespace("default")
	made, err := w.Create(ctx, widget("a", map[string]any{"size": int64(1)}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || got.GetAPIVersion() != "shop.example/v2" || got.GetUID() != made.GetUID() {
		t.Fatalf("in the other version it is %v, %v", got, err)
	}
	// The storage version changes: an update of nothing brings the object to the new one.
	if _, err := c.ApiextensionsV1().CustomResourceDefinitions().Patch(ctx, "widgets.shop.example", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("objects are stored in the new version", func() bool {
		if _, err := v2.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		o, ok := h.store.Get(widgetsV1.GroupResource(), "default", "a")
		return ok && o.GetObjectKind().GroupVersionKind().Version == "v2"
	})
}

// convertingHook renames spec.color to spec.paint in v2, or does what it is told instead.
func convertingHook(t *testing.T, lie func(http.ResponseWriter) bool) *apiextensionsv1.CustomResourceConversion {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie != nil && lie(w) {
			return
		}
		review := &apiextensionsv1.ConversionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
		}
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(raw.Raw); err != nil {
				t.Error(err)
			}
			from, to := "color", "paint"
			if review.Request.DesiredAPIVersion == "shop.example/v1" {
				from, to = to, from
			}
			if v, ok, _ := unstructured.NestedString(o.Object, "spec", from); ok {
				unstructured.RemoveNestedField(o.Object, "spec", from)
				_ = unstructured.SetNestedField(o.Object, v, "spec", to)
			}
			o.SetAPIVersion(review.Request.DesiredAPIVersion)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: o})
		}
		review.Request = nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Log(err)
		}
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &s.URL, CABundle: ca}, ConversionReviewVersions: []string{"v1"}}}
}

func painted(d *apiextensionsv1.CustomResourceDefinition) {
	spec := d.Spec.Versions[1].Schema.OpenAPIV3Schema.Properties["spec"]
	spec.Properties["paint"] = spec.Properties["color"]
	delete(spec.Properties, "color")
	spec.XValidations = nil
	d.Spec.Versions[1].Schema.OpenAPIV3Schema.Properties["spec"] = spec
	d.Spec.Versions[1].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".spec.paint"}}
}

func TestCustomResourceConverted(t *testing.T) {
	h := start(t)
	var broken atomic.Bool
	hook := convertingHook(t, func(w http.ResponseWriter) bool {
		if broken.Load() {
			fmt.Fprint(w, `{"kind":"nonsense`)
		}
		return broken.Load()
	})
	h.define(definition(t, widgets, twoVersions(hook), painted))
	ctx, w := context.Background(), h.widgets()
	v2 := h.dyn.Resource(widgetsV1.GroupResource().WithVersion("v2")).Namespace("default")
	watch, err := v2.Watch(ctx, metav1.ListOptions{FieldSelector: "spec.paint=blue"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if _, err := w.Create(ctx, widget("a", map[string]any{"color": "blue"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || field(t, got, "spec", "paint") != "blue" || field(t, got, "spec", "color") != nil {
		t.Fatalf("converted to %v, %v", got, err)
	}
	if e := <-watch.ResultChan(); field(t, e.Object.(*unstructured.Unstructured), "spec", "paint") != "blue" {
		t.Errorf("the watch of v2 shows %v", e)
	}
	o := widget("b", map[string]any{"paint": "red"})
	o.SetAPIVersion("shop.example/v2")
	if made, err := v2.Create(ctx, o, metav1.CreateOptions{}); err != nil || field(t, made, "spec", "paint") != "red" {
		t.Errorf("made in v2: %v, %v", made, err)
	}
	list, err := v2.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 || field(t, &list.Items[1], "spec", "paint") != "red" {
		t.Errorf("listed in v2: %v, %v", list, err)
	}
	broken.Store(true)
	if _, err := v2.Get(ctx, "a", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "conversion webhook") {
		t.Errorf("a webhook that answers nonsense: %v", err)
	}
	if _, err := w.Get(ctx, "a", metav1.GetOptions{}); err != nil {
		t.Errorf("the stored version needs no webhook: %v", err)
	}
}
