package kube_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/peapod-sh/peapod/server/kube"
)

// BenchmarkAdmission creates ConfigMaps of 1 KiB that one webhook changes and one looks at, beside some that nobody is asked about, and prints the
// processor time of each, that of the webhooks among it.
func BenchmarkAdmission(b *testing.B) {
	admin := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
	})
	h := start(b, func(c *kube.Config) { c.Authenticators = []authenticator.Request{admin} })
	configMap := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"value":"` + strings.Repeat("x", 1024) + `"}}`
	w := benchWrite{"", "POST", benchMaps, asJSON, configMap, ""}
	b.Run("bare", func(b *testing.B) { h.benchWrite(b, w) })
	h.askAboutMaps(b)
	b.Run("webhooks", func(b *testing.B) { h.benchWrite(b, w) })
}

// askAboutMaps has a mutating and a validating webhook asked about every ConfigMap.
func (h *harness) askAboutMaps(b *testing.B) {
	b.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Request struct{ UID string }
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			b.Error(err)
		}
		answer := admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}}
		answer.Response = &admissionv1.AdmissionResponse{UID: "", Allowed: true}
		if r.URL.Path == "/mutate" {
			kind := admissionv1.PatchTypeJSONPatch
			answer.Response.PatchType, answer.Response.Patch = &kind, []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)
		}
		text, _ := json.Marshal(answer) // it has a form
		_, _ = w.Write([]byte(strings.Replace(string(text), `"uid":""`, `"uid":"`+asked.Request.UID+`"`, 1)))
	}))
	b.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	rules := []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{registrationv1.Create},
		Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}
	none, mutate, validate := registrationv1.SideEffectClassNone, s.URL+"/mutate", s.URL+"/validate"
	ctx, named := context.Background(), metav1.ObjectMeta{Name: "bench"}
	api := h.client.AdmissionregistrationV1()
	if _, err := api.MutatingWebhookConfigurations().Create(ctx, &registrationv1.MutatingWebhookConfiguration{ObjectMeta: named, Webhooks: []registrationv1.MutatingWebhook{{
		Name: "mutate.bench.example", ClientConfig: registrationv1.WebhookClientConfig{URL: &mutate, CABundle: ca}, Rules: rules, SideEffects: &none,
		AdmissionReviewVersions: []string{"v1"}}}}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := api.ValidatingWebhookConfigurations().Create(ctx, &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: named, Webhooks: []registrationv1.ValidatingWebhook{{
		Name: "validate.bench.example", ClientConfig: registrationv1.WebhookClientConfig{URL: &validate, CABundle: ca}, Rules: rules, SideEffects: &none,
		AdmissionReviewVersions: []string{"v1"}}}}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}
