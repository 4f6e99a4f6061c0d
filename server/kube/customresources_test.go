package kube_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
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

func definition(t testing.TB, text string, change ...func(*apiextensionsv1.CustomResourceDefinition)) *apiextensionsv1.CustomResourceDefinition {
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

func (h *harness) widgets() dynamic.ResourceInterface {
	return h.dyn.Resource(widgetsV1).Namespace("default")
}

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

func TestCustomResourceParts(t *testing.T) {
	h := start(t)
	h.define(definition(t, widgets))
	ctx, w := context.Background(), h.widgets()
	if _, err := w.Create(ctx, widget("one", map[string]any{"replicas": int64(2)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stated, err := w.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":9},"status":{"replicas":1,"selector":"a=b"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if size, replicas := field(t, stated, "spec", "size"), field(t, stated, "status", "replicas"); size != int64(3) || replicas != int64(1) {
		t.Errorf("a write of the status left size %v, replicas %v", size, replicas)
	}
	scale, err := w.Get(ctx, "one", metav1.GetOptions{}, "scale")
	if err != nil || field(t, scale, "spec", "replicas") != int64(2) || field(t, scale, "status", "selector") != "a=b" {
		t.Errorf("its scale is %v, %v", scale, err)
	}
	if _, err := w.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	scaled, err := w.Patch(ctx, "one", types.MergePatchType, []byte(`{"status":{"replicas":7}}`), metav1.PatchOptions{})
	if err != nil || field(t, scaled, "spec", "replicas") != int64(5) || field(t, scaled, "status", "replicas") != int64(1) {
		t.Errorf("scaled to %v, %v", scaled, err)
	}
}

func TestCustomResourceSelectedAndWatched(t *testing.T) {
	h := start(t)
	h.define(definition(t, widgets))
	ctx, w := context.Background(), h.widgets()
	red, err := w.Watch(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"})
	if err != nil {
		t.Fatal(err)
	}
	defer red.Stop()
	for name, color := range map[string]string{"a": "red", "b": "blue", "c": "blue"} {
		o := widget(name, map[string]any{"color": color})
		o.SetLabels(map[string]string{"color": color})
		if _, err := w.Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, opts := range []metav1.ListOptions{{LabelSelector: "color=blue"}, {FieldSelector: "spec.color=blue"}, {FieldSelector: "spec.color=blue,metadata.name!=a"}} {
		list, err := w.List(ctx, opts)
		if err != nil || len(list.Items) != 2 || list.Items[0].GetName() != "b" || list.GetKind() != "WidgetList" {
			t.Errorf("%v selects %v, %v", opts, list, err)
		}
	}
	first, err := w.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil || len(first.Items) != 2 || first.GetContinue() == "" {
		t.Fatalf("a page of two is %v, %v", first, err)
	}
	if rest, err := w.List(ctx, metav1.ListOptions{Limit: 2, Continue: first.GetContinue()}); err != nil || len(rest.Items) != 1 || rest.Items[0].GetName() != "c" {
		t.Errorf("the next page is %v, %v", rest, err)
	}
	if _, err := w.List(ctx, metav1.ListOptions{FieldSelector: "spec.size=3"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that nobody may select by: %v", err)
	}
	for _, patch := range []string{`{"spec":{"size":4}}`, `{"spec":{"color":"blue"}}`} {
		if _, err := w.Patch(ctx, "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"ADDED 3", "MODIFIED 4", "DELETED 4"} {
		e := <-red.ResultChan()
		o := e.Object.(*unstructured.Unstructured)
		if got := fmt.Sprint(e.Type, " ", field(t, o, "spec", "size")); got != want || field(t, o, "spec", "color") != "red" {
			t.Errorf("the watch shows %s of %v, wanted %s", got, o.Object, want)
		}
	}
}

func TestCustomResourceApplied(t *testing.T) {
	h := start(t)
	h.define(definition(t, widgets))
	ctx, w := context.Background(), h.widgets()
	part := func(name string, count int64) map[string]any {
		return map[string]any{"parts": []any{map[string]any{"name": name, "count": count}}}
	}
	for manager, spec := range map[string]map[string]any{"one": part("x", 1), "two": part("y", 2)} {
		if _, err := w.Apply(ctx, "a", widget("a", spec), metav1.ApplyOptions{FieldManager: manager}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || len(field(t, got, "spec", "parts").([]any)) != 2 {
		t.Errorf("two managers of a list's entries made %v, %v", got, err)
	}
	if _, err := w.Apply(ctx, "a", widget("a", part("x", 3)), metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		t.Errorf("another's field: %v", err)
	}
}

// TestDefinitionDrainsItsObjects: the definition waits for its last object, which may be held.
// Invariant 158.
func TestDefinitionDrainsItsObjects(t *testing.T) {
	h := start(t)
	c := h.define(definition(t, widgets))
	ctx, w := context.Background(), h.widgets()
	held := widget("held", nil)
	held.SetFinalizers([]string{"shop.example/hold"})
	for _, o := range []*unstructured.Unstructured{held, widget("free", nil)} {
		if _, err := w.Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	all := c.ApiextensionsV1().CustomResourceDefinitions()
	if err := all.Delete(ctx, "widgets.shop.example", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("only the object that is held is left", func() bool {
		list, err := w.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 1 && list.Items[0].GetDeletionTimestamp() != nil
	})
	if _, err := w.Create(ctx, widget("late", nil), metav1.CreateOptions{}); err == nil {
		t.Error("an object was made while its definition goes")
	}
	if _, err := w.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the definition is gone", func() bool {
		_, err := all.Get(ctx, "widgets.shop.example", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	h.eventually("its resource is not served", func() bool {
		_, err := w.List(ctx, metav1.ListOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestDefinitionInDiscoveryAndDocuments(t *testing.T) {
	h := start(t)
	c := h.define(definition(t, widgets, twoVersions(nil)))
	raw := func(path, accept string) string {
		b, err := h.client.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(context.Background())
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
	places := []struct{ path, accept, has string }{
		{"/apis", "application/json", `"shop.example/v2"`},
		{"/apis", "application/json", `"apiextensions.k8s.io/v1"`},
		{"/apis", aggregated, `"singularResource":"widget"`},
		{"/apis/shop.example", "application/json", `"preferredVersion":{"groupVersion":"shop.example/v2"`},
		{"/apis/shop.example/v1", "application/json", `"shortNames":["wd"]`},
		{"/openapi/v3", "application/json", `"apis/shop.example/v1"`},
		{"/openapi/v3/apis/shop.example/v1", "application/json", `A widget is made of parts.`},
		{"/openapi/v3/apis/apiextensions.k8s.io/v1", "application/json", `"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"`},
		{"/openapi/v2", "application/json", `"example.shop.v2.Widget"`},
	}
	for _, p := range places {
		h.eventually(fmt.Sprintf("%s has %s", p.path, p.has), func() bool { return strings.Contains(raw(p.path, p.accept), p.has) })
	}
	if doc := raw("/openapi/v2", "application/json"); !strings.Contains(doc, `"io.k8s.api.core.v1.Pod"`) || !strings.Contains(doc, `/apis/apiextensions.k8s.io/v1/customresourcedefinitions`) {
		t.Error("the document of version 2 has lost what is not custom")
	}
	if err := c.ApiextensionsV1().CustomResourceDefinitions().Delete(context.Background(), "widgets.shop.example", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if !strings.Contains(p.has, "apiextensions") {
			h.eventually(fmt.Sprintf("%s has no %s any more", p.path, p.has), func() bool { return !strings.Contains(raw(p.path, p.accept), p.has) })
		}
	}
}

func TestHostileDefinitions(t *testing.T) {
	h := start(t)
	c := crdclient.NewForConfigOrDie(h.config)
	schema := func(d *apiextensionsv1.CustomResourceDefinition) map[string]apiextensionsv1.JSONSchemaProps {
		return d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
	}
	many := func(inner apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &inner}}
	}
	ref := "#/definitions/io.example.Loop"
	for what, bad := range map[string]struct {
		change func(*apiextensionsv1.CustomResourceDefinition)
		says   string
	}{
		"a reference": {func(d *apiextensionsv1.CustomResourceDefinition) {
			schema(d)["loop"] = apiextensionsv1.JSONSchemaProps{Ref: &ref}
		}, "$ref"},
		"a costly rule": {func(d *apiextensionsv1.CustomResourceDefinition) {
			text := apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: apiextensionsv1.ValidationRules{{Rule: "self.matches('(a+)+b')"}}}
			schema(d)["cube"] = many(many(many(text)))
		}, "exceeds budget"},
		"a rule that is none": {func(d *apiextensionsv1.CustomResourceDefinition) {
			schema(d)["x"] = apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: apiextensionsv1.ValidationRules{{Rule: "self.nothing("}}}
		}, "compilation failed"},
		"no structure": {func(d *apiextensionsv1.CustomResourceDefinition) {
			schema(d)["x"] = apiextensionsv1.JSONSchemaProps{}
		}, "must not be empty for specified object fields"},
		"another's name": {func(d *apiextensionsv1.CustomResourceDefinition) { d.Name = "gadgets.shop.example" }, "metadata.name"},
	} {
		_, err := c.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), definition(t, widgets, bad.change), metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	deep := apiextensionsv1.JSONSchemaProps{Type: "string"}
	for range 1000 {
		deep = many(deep)
	}
	_, err := c.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), definition(t, widgets, func(d *apiextensionsv1.CustomResourceDefinition) {
		schema(d)["deep"] = deep
	}), metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "must not be nested more than") {
		t.Errorf("a schema 1000 deep: %.200v", err)
	}
	err = h.client.Discovery().RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").SetHeader("Content-Type", "application/json").
		Body([]byte(strings.Repeat(`{"items":`, 9000) + strings.Repeat("}", 9000))).Do(context.Background()).Error()
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "must not be nested more than") {
		t.Errorf("a text 9000 deep: %.200v", err)
	}
	if _, err := h.client.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{}); err != nil {
		t.Errorf("others suffer: %v", err)
	}
}

// tunnelNode connects whom it is asked to.
type tunnelNode struct{}

func (tunnelNode) DialNode(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		in := bufio.NewReader(there)
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", strings.TrimPrefix(q.URL.Path, "/dial/"))
		if err != nil {
			return
		}
		defer to.Close()
		fmt.Fprint(there, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		go func() { _, _ = io.Copy(to, in) }()
		_, _ = io.Copy(there, to)
	}()
	return here, nil
}

// TestConversionWebhookInTheCluster: a webhook that is a service is reached over the node of one of its endpoints.
func TestConversionWebhookInTheCluster(t *testing.T) {
	hook := convertingHook(t, nil)
	at, err := url.Parse(*hook.Webhook.ClientConfig.URL)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, func(c *kube.Config) { c.Nodes = tunnelNode{} })
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	ready, name, number := true, "node1", int32(port)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "converter"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.77", ClusterIPs: []string{"10.96.0.77"}, Ports: []corev1.ServicePort{{Port: 443, Protocol: corev1.ProtocolTCP}}}}
	empty := ""
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "converter-x", Labels: map[string]string{discoveryv1.LabelServiceName: "converter"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &empty, Port: &number}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.Hostname()}, NodeName: &name, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}}
	if _, err := h.store.Propose(context.Background(), &ops.Put{Resource: corev1.Resource("services"), Object: service},
		&ops.Put{Resource: schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, Object: slice}); err != nil {
		t.Fatal(err)
	}
	path := at.Path
	hook.Webhook.ClientConfig.URL = nil
	hook.Webhook.ClientConfig.Service = &apiextensionsv1.ServiceReference{Namespace: "default", Name: "converter", Path: &path}
	h.define(definition(t, widgets, twoVersions(hook), painted))
	ctx := context.Background()
	if _, err := h.widgets().Create(ctx, widget("a", map[string]any{"color": "blue"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = h.dyn.Resource(widgetsV1.GroupResource().WithVersion("v2")).Namespace("default").Get(ctx, "a", metav1.GetOptions{})
	// The test server's certificate is for example.com and addresses: that TLS gets so far shows that it was reached.
	if err == nil || !strings.Contains(err.Error(), "certificate is valid for") {
		t.Errorf("asked over the node: %v", err)
	}
}
