package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
)

// gadgets is a definition whose objects have values of every form.
const gadgets = `
metadata: {name: gadgets.shop.example}
spec:
  group: shop.example
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          data: {type: object, additionalProperties: {type: string}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: "!has(self.count) || self.count < 1000", message: too many}
            properties:
              text: {type: string, maxLength: 20}
              count: {type: integer, default: 3, minimum: 0}
              share: {type: number}
              flag: {type: boolean}
              either: {x-kubernetes-int-or-string: true}
              nothing: {type: string, nullable: true}
              whole: {type: object, x-kubernetes-map-type: atomic, additionalProperties: {type: string}}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              inner: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              names: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              list: {type: array, items: {type: object, properties: {a: {type: string}, b: {type: integer, default: 1}}}}
              byName:
                type: object
                additionalProperties: {type: object, properties: {a: {type: string}, b: {type: integer, default: 1}}}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [port, protocol]
                items:
                  type: object
                  required: [port]
                  properties: {port: {type: integer}, protocol: {type: string, default: TCP}, note: {type: string}}
`

const gadgetsPath = "/apis/shop.example/v1/namespaces/default/gadgets"

// startPlain is a server whose every request is the administrator's, with gadgets that are created plainly.
func startPlain(t testing.TB) *harness {
	admin := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
	})
	h := start(t, func(c *kube.Config) { c.Authenticators = []authenticator.Request{admin} })
	h.define(definition(t, gadgets))
	h.untilPlain()
	return h
}

func (h *harness) untilPlain() {
	h.Helper()
	h.eventually("gadgets are created plainly", func() bool {
		w := h.createGadget("", `{"apiVersion":"shop.example/v1","kind":"Gadget","metadata":{"name":"g"}}`)
		if w.Code != http.StatusCreated {
			h.Fatalf("%d %s", w.Code, w.Body)
		}
		return answeredPlainly(w)
	})
}

// answeredPlainly tells of an answer whose length was known before it was written.
func answeredPlainly(w *httptest.ResponseRecorder) bool {
	return w.Header().Get("Content-Length") != ""
}

// createGadget creates the gadget g, of which nothing is left.
func (h *harness) createGadget(query, body string) *httptest.ResponseRecorder {
	h.Helper()
	r := request("POST", gadgetsPath+query, asJSON, asJSON, []byte(body))
	r.Header.Set("User-Agent", "tester/1 (test)")
	w := httptest.NewRecorder()
	h.server.Handler().ServeHTTP(w, r.WithContext(context.Background()))
	if w.Code == http.StatusCreated {
		if _, err := h.store.Propose(context.Background(), &ops.Delete{Resource: schema.GroupResource{Group: "shop.example", Resource: "gadgets"}, Namespace: "default", Name: "g", Expect: ops.Any}); err != nil {
			h.Fatal(err)
		}
	}
	return w
}

// compareGadget creates a gadget plainly, if that can be, and by the handler: a question for unindented JSON keeps a request from the plain
// way and changes nothing else. It says whether the first way was taken, and in what the answers differ.
func (h *harness) compareGadget(body string) (plain bool, difference string) {
	h.Helper()
	ours, theirs := h.createGadget("", body), h.createGadget("?pretty=false", body)
	a, b := settled(ours), settled(theirs)
	for _, header := range []string{"Content-Type", "Warning", "Cache-Control"} {
		a += fmt.Sprint(header, ours.Header()[header])
		b += fmt.Sprint(header, theirs.Header()[header])
	}
	if a != b {
		difference = fmt.Sprintf("%s\nours   %s\ntheirs %s", body, a, b)
	}
	return answeredPlainly(ours), difference
}

// settled is an answer without what is another each time. The library finds faults in any order.
func settled(w *httptest.ResponseRecorder) string {
	var s metav1.Status
	if w.Code != http.StatusUnprocessableEntity || json.Unmarshal(w.Body.Bytes(), &s) != nil || s.Details == nil {
		return fmt.Sprint(w.Code, unchosen.ReplaceAllString(w.Body.String(), `"$1":""`))
	}
	var causes []string
	for _, c := range s.Details.Causes {
		causes = append(causes, fmt.Sprint(c))
	}
	slices.Sort(causes)
	return fmt.Sprint(w.Code, s.Reason, causes)
}

// unchosen is what is another each time.
var unchosen = regexp.MustCompile(`"(uid|resourceVersion|time|creationTimestamp)":"[^"]*"`)

// What a plain creation of a custom resource answers is what its handler would have answered.
func TestPlainCustomCreationsAreTheHandlers(t *testing.T) {
	t.Parallel()
	h := startPlain(t)
	head := `"apiVersion":"shop.example/v1","kind":"Gadget"`
	for _, c := range []struct {
		body  string
		plain bool // it is created, and plainly
	}{
		{`{` + head + `,"metadata":{"name":"g"}}`, true},
		{`{` + head + `,"metadata":{"name":"g","labels":{"a":"b"},"annotations":{"x.y/z":"<&>"}},"spec":{"text":"t","flag":true,"share":0.5,"either":"5%"}}`, true},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"ports":[{"port":2},{"port":1,"protocol":"UDP","note":"n"}],"names":["b","a"],"list":[{"a":"x"},{}]}}`, true},
		{`{` + head + `,"metadata":{"name":"g","finalizers":[]},"spec":{"byName":{"x":{"a":"1"},"y":{}},"whole":{"k":"v"},"either":3}}`, true},
		{`{` + head + `,"metadata":{"name":"g","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1"}]},"data":{"k":"v"}}`, true},
		{`{` + head + `,"metadata":{"name":"g","uid":"u","resourceVersion":"","creationTimestamp":null,"generation":7},"status":{"x":1}}`, true},
		{`{` + head + `,"metadata":{"name":"g","namespace":"default"},"spec":{"count":1000}}`, false}, // the rule refuses it
		{`{` + head + `,"metadata":{"name":"G"},"spec":{"text":"too long for what it may be"}}`, false},
		{`{` + head + `,"metadata":{"name":"g","resourceVersion":"7"}}`, false},
		{`{` + head + `,"metadata":{"name":"g","finalizers":["x"]}}`, true}, // of which it warns
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"count":"x"}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"count":-1}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"unknown":1}}`, false},
		{`{` + head + `,"metadata":{"name":"g","unknown":1}}`, false},
		{`{` + head + `,"metadata":{"name":"g","labels":{"a":7}}}`, false},
		{`{` + head + `,"metadata":{"name":"g","name":"g"}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"free":{"a":[1]}}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"inner":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","y":1}}}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"nothing":null,"text":null}}`, false},
		{`{` + head + `,"metadata":{"name":"g"},"spec":{"ports":[{"port":1},{"port":1}]}}`, false},
		{`{` + head + `,"metadata":{"name":"g","namespace":"other"}}`, false},
		{`{` + head + `,"metadata":{"name":"g","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}]}}`, false},
		{`{"metadata":{"name":"g"}}`, false}, {`{` + head + `,"items":[]}`, false}, {`{` + head + `}`, false}, {`[]`, false}, {`null`, false}, {``, false}, {`{`, false},
		{`{"apiVersion":"shop.example/v2","kind":"Gadget","metadata":{"name":"g"}}`, false}, {`{"apiVersion":"shop.example/v1","kind":"Widget","metadata":{"name":"g"}}`, false},
	} {
		plain, difference := h.compareGadget(c.body)
		if plain != c.plain || difference != "" {
			t.Errorf("%s: answered plainly: %v; %s", c.body, plain, difference)
		}
	}
}

// The same for objects of any content.
func TestPlainCustomCreationsOfAnything(t *testing.T) {
	t.Parallel()
	h, plain, all := startPlain(t), 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		o := map[string]any{"apiVersion": "shop.example/v1", "kind": "Gadget", "metadata": drawMetadata(rt)}
		if spec := drawFields(rt, "spec", specFields); len(spec) > 0 || rapid.Bool().Draw(rt, "empty") {
			o["spec"] = spec
		}
		if rapid.Bool().Draw(rt, "has data") {
			o["data"] = drawFields(rt, "data", map[string][]any{"a": {"x", "<>"}, "b c": {"y"}, "é": {"z"}, "n": {nil, 7}})
		}
		if rapid.Bool().Draw(rt, "has status") {
			o["status"] = drawFields(rt, "status", map[string][]any{"a": {"x", map[string]any{}}})
		}
		body, err := json.Marshal(o)
		if err != nil {
			rt.Fatal(err)
		}
		all++
		was, difference := h.compareGadget(string(body))
		if difference != "" {
			rt.Fatal(difference)
		}
		if was {
			plain++
		}
	})
	if plain*10 < all {
		t.Errorf("only %d of %d gadgets were created plainly", plain, all)
	}
}

// specFields are values for a gadget's fields, of which the first are good ones.
var specFields = map[string][]any{
	"text": {"x", "", "a\"b", 7}, "count": {5, 0, nil, "x"}, "share": {0.25, 2, "x"}, "flag": {true, false}, "either": {"5%", 3, 0.5}, "nothing": {"x", nil},
	"whole": {map[string]any{"k": "v"}, map[string]any{}}, "names": {[]any{"b", "a"}, []any{}, []any{"a", "a"}, []any{"\u2028"}},
	"list":   {[]any{map[string]any{"a": "x"}, map[string]any{}}, []any{}, []any{map[string]any{"z": 1}}, []any{nil}},
	"byName": {map[string]any{"x": map[string]any{"a": "1"}, "y": map[string]any{}}, map[string]any{}, map[string]any{"x": nil}},
	"ports":  {[]any{map[string]any{"port": 2}, map[string]any{"port": 10, "protocol": "UDP"}, map[string]any{"port": 2, "protocol": "A", "note": "n"}}, []any{}, []any{map[string]any{}}, []any{map[string]any{"port": 1}, map[string]any{"port": 1}}},
	"free":   {map[string]any{}, map[string]any{"a": []any{1}}}, "strange": {1},
}

func drawMetadata(t *rapid.T) map[string]any {
	m := drawFields(t, "metadata", map[string][]any{
		"labels": {map[string]any{"a": "b", "c.d/e": ""}, map[string]any{}, nil, map[string]any{"a": 7}, map[string]any{"-": "x"}}, "annotations": {map[string]any{"x": "<"}, map[string]any{"é": "x"}},
		"namespace": {"default", "", "other"}, "generateName": {"", "x"}, "finalizers": {[]any{"a.b/c"}, []any{}, []any{"x"}}, "creationTimestamp": {nil, "2020-01-01T00:00:00Z", 7},
		"ownerReferences": {[]any{map[string]any{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"}}, []any{}, []any{map[string]any{"uid": "1", "x": 1}}}, "selfLink": {"x", ""}, "odd": {1}})
	m["name"] = "g"
	return m
}

// drawFields takes some of the fields, most often with their first value.
func drawFields(t *rapid.T, of string, values map[string][]any) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if rapid.IntRange(0, 3).Draw(t, of+"."+name) != 0 {
			continue
		}
		i := 0
		if rapid.IntRange(0, 4).Draw(t, of+"."+name+" is rare") == 0 {
			i = rapid.IntRange(0, len(values[name])-1).Draw(t, of+"."+name+" is")
		}
		out[name] = values[name][i]
	}
	return out
}

// A definition that changes, goes or is about to go has no plain way until the new one was asked for as often.
func TestPlainCustomCreationsFollowTheDefinition(t *testing.T) {
	t.Parallel()
	h := startPlain(t)
	c, ctx := crdclient.NewForConfigOrDie(h.config).ApiextensionsV1().CustomResourceDefinitions(), context.Background()
	d, err := c.Get(ctx, "gadgets.shop.example", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seven := int64(7)
	d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["data"] = apiextensionsv1.JSONSchemaProps{Type: "object", MaxProperties: &seven,
		AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &apiextensionsv1.JSONSchemaProps{Type: "integer"}}}
	if _, err := c.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	body := `{"apiVersion":"shop.example/v1","kind":"Gadget","metadata":{"name":"g"},"data":{"a":1}}`
	h.eventually("the new schema counts", func() bool { return h.createGadget("", body).Code == http.StatusCreated })
	h.untilPlain()
	if plain, difference := h.compareGadget(body); !plain || difference != "" {
		t.Errorf("with the new schema: answered plainly: %v; %s", plain, difference)
	}
	d, err = c.Get(ctx, "gadgets.shop.example", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deprecated := *d.Spec.Versions[0].DeepCopy()
	deprecated.Deprecated = true
	d.Spec.Versions[0] = deprecated
	if _, err := c.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("a deprecated version warns", func() bool { return h.createGadget("", body).Header().Get("Warning") != "" })
	for range 40 {
		if w := h.createGadget("", body); answeredPlainly(w) || w.Header().Get("Warning") == "" {
			t.Fatalf("a deprecated version is created without a word: %v %s", w.Header(), w.Body)
		}
	}
	if err := c.Delete(ctx, d.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the resource is gone", func() bool { return h.createGadget("", body).Code == http.StatusNotFound })
}

// TestPlainCustomCreationsOfNoVersion: of versions that a definition does not have nothing is remembered.
// Invariant 233.
func TestPlainCustomCreationsOfNoVersion(t *testing.T) {
	t.Parallel()
	h := startPlain(t)
	known := h.server.KnownCreations()
	for i := range 5 {
		path := fmt.Sprintf("/apis/shop.example/v%d/namespaces/default/gadgets", i+100)
		w := httptest.NewRecorder()
		h.server.Handler().ServeHTTP(w, request("POST", path, asJSON, asJSON, []byte("{}")))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if now := h.server.KnownCreations(); now != known || known != 1 {
		t.Errorf("%d versions are remembered, and %d before", now, known)
	}
}

// What admission makes of a plain creation is what it makes of the handler's.
func TestPlainCustomCreationsAreAdmitted(t *testing.T) {
	t.Parallel()
	h := startPlain(t)
	hook := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if strings.Contains(string(q.Object.Raw), "spoil") {
			return allowed(`[{"op":"add","path":"/metadata/managedFields","value":[{"manager":"m","operation":"Odd","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{}}]}]`)
		}
		return allowed(`[{"op":"add","path":"/spec/list","value":[{"a":"x"}]},{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}},{"op":"add","path":"/spec/strange","value":1}]`)
	})
	h.mutatedBy("gadgets", hook.client(), func(w *registrationv1.MutatingWebhook) {
		w.Rules = rulesFor("gadgets", registrationv1.Create)
		w.Rules[0].APIGroups = []string{"shop.example"}
	})
	h.validatedBy("gadgets", newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if !strings.Contains(string(q.Object.Raw), `"text":"no"`) {
			return allowed("")
		}
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not this one"}}
	}).client(), func(w *registrationv1.ValidatingWebhook) {
		w.Rules = rulesFor("gadgets", registrationv1.Create)
		w.Rules[0].APIGroups = []string{"shop.example"}
	})
	for _, c := range []struct {
		spec  string
		plain bool
	}{{`{"text":"yes"}`, true}, {`{"text":"no"}`, false}, {`{"text":"spoil"}`, true}} {
		plain, difference := h.compareGadget(`{"apiVersion":"shop.example/v1","kind":"Gadget","metadata":{"name":"g"},"spec":` + c.spec + `}`)
		if plain != c.plain || difference != "" {
			t.Errorf("%s: answered plainly: %v; %s", c.spec, plain, difference)
		}
	}
}
