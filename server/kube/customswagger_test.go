package kube_test

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const swaggerProto = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

// swaggerDoc is what tests look at in a document of version 2.
type swaggerDoc struct {
	Swagger                        string
	Info                           struct{ Title string }
	Definitions, Paths, Parameters map[string]json.RawMessage
}

func (h *harness) document(path, accept string) string {
	h.Helper()
	b, err := h.client.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(context.Background())
	if err != nil {
		h.Fatal(err)
	}
	return string(b)
}

// twoWidgets are definitions with two versions, and with one. They are in the document a moment after they are served.
func (h *harness) twoWidgets() {
	h.define(definition(h.TB, widgets, twoVersions(nil)))
	h.define(definition(h.TB, widgets, numbered(1), func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Scope = apiextensionsv1.ClusterScoped
		d.Spec.Versions[0].Subresources = nil
	}))
	h.eventually("both are in the document", func() bool {
		text := h.document("/openapi/v2", "application/json")
		return strings.Contains(text, `"example.shop.v2.Widget"`) && strings.Contains(text, `"example.shop.v1.Widget1"`)
	})
}

func TestSwaggerOfManyParts(t *testing.T) {
	h := start(t)
	var before, now swaggerDoc
	if err := json.Unmarshal([]byte(h.document("/openapi/v2", "application/json")), &before); err != nil {
		t.Fatal(err)
	}
	h.twoWidgets()
	text := h.document("/openapi/v2", "application/json")
	if err := json.Unmarshal([]byte(text), &now); err != nil {
		t.Fatal(err)
	}
	if now.Swagger != "2.0" || now.Info.Title != "Kubernetes" {
		t.Errorf("it is %q, called %q", now.Swagger, now.Info.Title)
	}
	for _, d := range []string{"example.shop.v1.Widget", "example.shop.v1.WidgetList", "example.shop.v2.Widget", "example.shop.v1.Widget1", "io.k8s.api.core.v1.Pod"} {
		if now.Definitions[d] == nil {
			t.Errorf("it has no %s", d)
		}
	}
	if extra := len(now.Definitions) - len(before.Definitions); extra != 6 {
		t.Errorf("%d definitions are new, not those of three versions", extra)
	}
	for _, p := range []string{"/apis/shop.example/v2/namespaces/{namespace}/widgets/{name}/scale", "/apis/shop.example/v1/widgets1/{name}", "/api/v1/pods"} {
		if now.Paths[p] == nil {
			t.Errorf("it has no %s", p)
		}
	}
	for _, ref := range regexp.MustCompile(`"\$ref":"#/(definitions|parameters)/([^"]+)"`).FindAllStringSubmatch(text, -1) {
		if (ref[1] == "definitions" && now.Definitions[ref[2]] == nil) || (ref[1] == "parameters" && now.Parameters[ref[2]] == nil) {
			t.Fatalf("nothing is behind %s", ref[0])
		}
	}
	for name, was := range before.Definitions {
		if string(now.Definitions[name]) != string(was) {
			t.Errorf("%s is another", name)
		}
	}
}

func TestSwaggerOfManyPartsInProtobuf(t *testing.T) {
	h := start(t)
	h.twoWidgets()
	var plain swaggerDoc
	if err := json.Unmarshal([]byte(h.document("/openapi/v2", "application/json")), &plain); err != nil {
		t.Fatal(err)
	}
	doc := &openapi_v2.Document{}
	if err := proto.Unmarshal([]byte(h.document("/openapi/v2", swaggerProto)), doc); err != nil {
		t.Fatal(err)
	}
	var definitions, paths, parameters []string
	for _, d := range doc.GetDefinitions().GetAdditionalProperties() {
		definitions = append(definitions, d.GetName())
	}
	for _, p := range doc.GetPaths().GetPath() {
		paths = append(paths, p.GetName())
	}
	for _, p := range doc.GetParameters().GetAdditionalProperties() {
		parameters = append(parameters, p.GetName())
	}
	for _, c := range []struct {
		what string
		got  []string
		want map[string]json.RawMessage
	}{{"definitions", definitions, plain.Definitions}, {"paths", paths, plain.Paths}, {"parameters", parameters, plain.Parameters}} {
		if slices.Sort(c.got); !slices.Equal(c.got, slices.Sorted(maps.Keys(c.want))) {
			t.Errorf("%s: %d, in JSON %d", c.what, len(c.got), len(c.want))
		}
	}
	if doc.GetInfo().GetTitle() != "Kubernetes" || doc.GetSwagger() != "2.0" {
		t.Errorf("it is %q, called %q", doc.GetSwagger(), doc.GetInfo().GetTitle())
	}
}

func TestOneDefinitionCostsItsOwnPart(t *testing.T) {
	h := start(t)
	var c = h.define(definition(t, widgets)).ApiextensionsV1().CustomResourceDefinitions()
	for i := range 3 {
		h.define(definition(t, widgets, numbered(i)))
	}
	h.eventually("four parts are built though nobody has asked", func() bool {
		parts, _, builds := h.server.SwaggerParts()
		return parts == 4 && builds == 4
	})
	if _, size, _ := h.server.SwaggerParts(); size > 4*4096 {
		t.Errorf("%d bytes are kept of four small definitions", size)
	}
	for range 3 {
		if !strings.Contains(h.document("/openapi/v2", "application/json"), "example.shop.v1.Widget2List") {
			t.Error("a definition is missing")
		}
	}
	ctx := context.Background()
	if _, err := c.Patch(ctx, "widgets2.shop.example", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/description","value":"Changed."}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the change is there", func() bool { return strings.Contains(h.document("/openapi/v2", "application/json"), "Changed.") })
	if _, _, builds := h.server.SwaggerParts(); builds != 5 {
		t.Errorf("after a change of one definition %d parts were built", builds)
	}
	if err := c.Delete(ctx, "widgets1.shop.example", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("what has gone is not there", func() bool {
		return !strings.Contains(h.document("/openapi/v2", "application/json"), "example.shop.v1.Widget1")
	})
	h.eventually("three parts are kept and none was built again", func() bool {
		parts, _, builds := h.server.SwaggerParts()
		return parts == 3 && builds == 5
	})
}
