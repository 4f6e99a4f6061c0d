package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/api/ops"
)

// uidMark stands for the UID of the request in what a fuzzed webhook answers, as no answer counts without it.
const uidMark = "UID"

// fuzzedHook is a webhook that answers with what it was told last.
type fuzzedHook struct {
	*httptest.Server
	answer atomic.Pointer[[]byte]
}

func newFuzzedHook(f *testing.F) *fuzzedHook {
	h := &fuzzedHook{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct{ Request struct{ UID string } }
		_ = json.NewDecoder(r.Body).Decode(&review)
		w.Header().Set("Content-Type", asJSON)
		_, _ = w.Write(bytes.ReplaceAll(*h.answer.Load(), []byte(uidMark), []byte(review.Request.UID)))
	}))
	f.Cleanup(h.Close)
	return h
}

func (h *fuzzedHook) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
}

// FuzzAdmissionAnswers: whatever a mutating webhook answers, the client gets the object, which can be read and written back, or a Status that names
// the webhook or what is wrong with the object that it made.
func FuzzAdmissionAnswers(f *testing.F) {
	hook := newFuzzedHook(f)
	for _, response := range []string{
		`"allowed":true`, `"allowed":false,"status":{"message":"no","code":418}`, `"allowed":true,"patchType":"JSONPatch","patch":"W10="`,
		`"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2RhdGEveCIsInZhbHVlIjoieSJ9XQ=="`,                     // adds /data/x
		`"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9tZXRhZGF0YS9uYW1lIiwidmFsdWUiOiJvdGhlciJ9XQ=="`, // another name
		`"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6IiIsInZhbHVlIjpudWxsfV0="`,                         // nothing is left
		`"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6IiJ9XQ=="`,                                         // by no value
		`"allowed":true,"warnings":["w",""],"auditAnnotations":{"a":"b"}`, `"allowed":true,"patchType":"Merge","patch":"e30="`, `"allowed":"yes"`, `"status":null`,
	} {
		f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID",` + response + `}}`))
	}
	f.Add([]byte("{]"))
	server := newFuzzed(f)
	fail := registrationv1.Fail
	config := &registrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "w", UID: "0-9"}, Webhooks: []registrationv1.MutatingWebhook{{
		Name: "w.hooks.example.com", ClientConfig: registrationv1.WebhookClientConfig{URL: ptr.To(hook.URL), CABundle: hook.bundle()}, Rules: rulesFor("configmaps", registrationv1.Create),
		FailurePolicy: &fail, SideEffects: ptr.To(registrationv1.SideEffectClassNone), TimeoutSeconds: ptr.To(int32(3)), AdmissionReviewVersions: []string{"v1"},
		MatchPolicy: ptr.To(registrationv1.Equivalent), NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}, ReinvocationPolicy: ptr.To(registrationv1.NeverReinvocationPolicy)}}}
	f.Fuzz(func(t *testing.T, answer []byte) {
		hook.answer.Store(&answer)
		server.reset(t)
		if _, err := server.store.Propose(context.Background(), &ops.Put{Resource: schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"}, Object: config}); err != nil {
			t.Fatal(err)
		}
		r := request("POST", "/api/v1/namespaces/default/configmaps", asJSON, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"k":"v"}}`))
		w := server.serve(r)
		if w.Code == http.StatusCreated {
			server.accepted(t, r.URL, w.Body.Bytes())
			return
		}
		s, err := status(w)
		if err != nil || s.Status != metav1.StatusFailure || s.Message == "" || strings.Contains(s.Message, "panic") {
			t.Fatalf("%d is no Status that says something: %v\n%q", w.Code, err, w.Body)
		}
	})
}

// FuzzConversionAnswers: whatever a webhook makes of an object, it is an error or the same object in the version that was asked for.
func FuzzConversionAnswers(f *testing.F) {
	hook := newFuzzedHook(f)
	for _, objects := range []string{
		`[{"apiVersion":"shop.example/v2","kind":"Widget","metadata":{"name":"a","namespace":"default","uid":"1"},"spec":{"paint":"blue"}}]`,
		`[{"apiVersion":"shop.example/v2","kind":"Widget","metadata":{"name":"b"}}]`, `[{"apiVersion":"shop.example/v2","kind":"Widget","metadata":null}]`, `[{}]`, `[null]`, `[]`, `{}`, `[[]]`,
		`[{"apiVersion":"v1","kind":"List","items":[]}]`, `[{"apiVersion":"shop.example/v2","kind":"Widget","metadata":{"name":"a","namespace":"default","uid":"1","labels":7,"creationTimestamp":"never"}}]`,
	} {
		f.Add([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":"UID","result":{"status":"Success"},"convertedObjects":` + objects + `}}`))
	}
	f.Add([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":"UID","result":{"status":"Failure","message":"no"}}}`))
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal([]byte(widgets), d); err != nil {
		f.Fatal(err)
	}
	twoVersions(&apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &hook.URL, CABundle: hook.bundle()}, ConversionReviewVersions: []string{"v1"}}})(d)
	factory, err := conversion.NewCRConverterFactory(newFuzzed(f).server.WebhookWay())
	if err != nil {
		f.Fatal(err)
	}
	converter, _, err := factory.NewConverter(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		hook.answer.Store(&answer)
		in := widget("a", map[string]any{"color": "blue"})
		in.SetNamespace("default")
		in.SetUID("1")
		before := in.DeepCopy()
		out, err := converter.ConvertToVersion(in, schema.GroupVersion{Group: "shop.example", Version: "v2"})
		if jsonOf(t, in) != jsonOf(t, before) {
			t.Fatalf("what is stored was changed from %v to %v", before, in)
		}
		if err != nil {
			return
		}
		u, ok := out.(*unstructured.Unstructured)
		if !ok || u.GetName() != "a" || u.GetNamespace() != "default" || u.GetUID() != "1" || u.GetKind() != "Widget" || u.GetAPIVersion() != "shop.example/v2" {
			t.Fatalf("converted to %v", out)
		}
	})
}

// FuzzDefinition: whatever schema a definition has, it is refused with a Status of 4xx, or it can be described to clients.
func FuzzDefinition(f *testing.F) {
	for _, spec := range []string{
		`{"type":"object"}`, `{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}}}}`, `{"$ref":"#/definitions/io.example.Loop"}`,
		`{"type":"object","x-kubernetes-validations":[{"rule":"self.all(a, self.all(b, a == b))"}],"additionalProperties":{"type":"string","maxLength":9}}`,
		`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"x-kubernetes-embedded-resource":true}`, `{"x-kubernetes-int-or-string":true}`,
		`{"type":"object","properties":{"a":{"type":"integer","default":"text"}}}`, `{"type":"string","pattern":"(((","format":"none","enum":[1,null,{}]}`,
		`{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a"],"items":{"type":"object","properties":{"a":{"type":"string","default":"x"}}}}`,
		`{"type":"object","anyOf":[{"required":["a"]},{"not":{"properties":{"a":{}}}}],"properties":{"a":{"type":"number","multipleOf":0}}}`, `[]`, `null`, `{"type":7}`,
	} {
		f.Add([]byte(spec), ".spec.a")
	}
	server := newFuzzed(f)
	f.Fuzz(func(t *testing.T, schema []byte, path string) {
		if !json.Valid(schema) {
			return
		}
		server.reset(t)
		column, _ := json.Marshal(path)
		body := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.shop.example"},"spec":{"group":"shop.example","scope":"Namespaced",` +
			`"names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},"versions":[{"name":"v1","served":true,"storage":true,` +
			`"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":` + string(column) + `}],"selectableFields":[{"jsonPath":` + string(column) + `}],` +
			`"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":` + string(schema) + `}}}}]}}`
		w := server.serve(request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", asJSON, asJSON, []byte(body)))
		if w.Code != http.StatusCreated {
			if s, err := status(w); err != nil || s.Status != metav1.StatusFailure || s.Message == "" || w.Code >= 500 {
				t.Fatalf("%d: %v\n%s\n%s", w.Code, err, w.Body, body)
			}
			return
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := json.Unmarshal(w.Body.Bytes(), d); err != nil {
			t.Fatal(err)
		}
		if _, err := crdbuilder.BuildOpenAPIV3(d, "v1", crdbuilder.Options{IncludeSelectableFields: true}); err != nil {
			t.Errorf("accepted, and cannot be described: %v\n%s", err, body)
		}
		if _, err := crdbuilder.BuildOpenAPIV2(d, "v1", crdbuilder.Options{V2: true, IncludeSelectableFields: true}); err != nil {
			t.Errorf("accepted, and cannot be described in version 2: %v\n%s", err, body)
		}
	})
}
