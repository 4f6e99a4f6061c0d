package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	admissionRounds = 4 // pairs of a run in each namespace
	bareNamespace   = "bare"
	askedNamespace  = "asked" // the one that webhooks, the policy and the quota are about
)

// benchAdmission creates ConfigMaps in a namespace that nobody asks about, and in one where a mutating webhook, a validating webhook, a
// policy in CEL and a quota are asked about each. What the webhooks themselves do is not counted: they are this process.
func benchAdmission(ctx context.Context, l *rig.Lab, t *table) error {
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	conns, err := openWriters(ctx, l, []string{leader}, writers)
	defer closeWriters(conns)
	if err != nil {
		return err
	}
	hook, err := startHook(conns[0].conn.LocalAddr())
	if err != nil {
		return err
	}
	defer hook.Close()
	client, err := l.Client(leader)
	if err != nil {
		return err
	}
	if err := askAbout(ctx, client, hook); err != nil {
		return err
	}
	var bare, asked rate
	in := func(namespace string) func(*writer, string) error {
		return func(w *writer, name string) error { return w.createIn(namespace, configMap(name)) }
	}
	for round := range admissionRounds {
		one, err := writeKind(l, conns, in(bareNamespace))
		if err != nil {
			return err
		}
		other, err := writeKind(l, conns, in(askedNamespace))
		if err != nil {
			return err
		}
		if round > 0 { // the first warms up
			bare, asked = bare.with(one), asked.with(other)
		}
	}
	if *profiles != "" {
		if err := profileWrite(ctx, l, leader, conns, "admission", in(askedNamespace)); err != nil {
			return err
		}
	}
	n := float64(admissionRounds - 1)
	t.below("a write through two webhooks, a CEL policy and a quota to a bare one, processor time of the servers", asked.cpu/bare.cpu, 3, ": 1")
	t.told("  microseconds of the servers for one: asked about, bare", fmt.Sprintf("%.0f, %.0f", asked.cpu/n, bare.cpu/n))
	t.told("  writes a second", fmt.Sprintf("%.0f, %.0f", asked.perSecond/n, bare.perSecond/n))
	return nil
}

// with adds a round as it is.
func (r rate) with(o rate) rate {
	return rate{perSecond: r.perSecond + o.perSecond, cpu: r.cpu + o.cpu}
}

// startHook serves webhooks on the address by which this process reaches the lab, so that the lab reaches it.
func startHook(local net.Addr) (*httptest.Server, error) {
	at, ok := local.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("%v is no TCP address", local)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(at.IP.String(), "0"))
	if err != nil {
		return nil, err
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(admitLabelled))
	s.Listener.Close()
	s.Listener = l
	s.TLS, err = certifiedFor(at.IP)
	if err != nil {
		return nil, err
	}
	s.StartTLS()
	return s, nil
}

// admitLabelled gives what it may change a label.
func admitLabelled(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if r.URL.Path == "/mutate" {
		kind := admissionv1.PatchTypeJSONPatch
		answer.PatchType, answer.Patch = &kind, []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)
	}
	review.Request, review.Response = nil, answer
	w.Header().Set("Content-Type", jsonType)
	_ = json.NewEncoder(w).Encode(review) // the server tells that it had no answer
}

// askAbout makes both namespaces, and all that is asked about the second.
func askAbout(ctx context.Context, c kubernetes.Interface, hook *httptest.Server) error {
	of := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: askedNamespace}}
	creates := registrationv1.RuleWithOperations{Operations: []registrationv1.OperationType{registrationv1.Create},
		Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}
	none := registrationv1.SideEffectClassNone
	way := func(path string) registrationv1.WebhookClientConfig {
		url := hook.URL + path
		return registrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})}
	}
	named, opts, api := metav1.ObjectMeta{Name: "bench"}, metav1.CreateOptions{}, c.AdmissionregistrationV1()
	var errs []error
	note := func(_ any, err error) { errs = append(errs, err) }
	for _, name := range []string{bareNamespace, askedNamespace} {
		note(c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, opts))
	}
	note(c.CoreV1().ResourceQuotas(askedNamespace).Create(ctx, &corev1.ResourceQuota{ObjectMeta: named,
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("100000000")}}}, opts))
	note(api.ValidatingAdmissionPolicies().Create(ctx, &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: named, Spec: registrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &registrationv1.MatchResources{NamespaceSelector: of, ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: creates}}},
		Validations:      []registrationv1.Validation{{Expression: "object.data.all(k, size(object.data[k]) <= 4096) && !has(object.immutable)"}}}}, opts))
	note(api.ValidatingAdmissionPolicyBindings().Create(ctx, &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: named,
		Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: named.Name, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}}, opts))
	note(api.MutatingWebhookConfigurations().Create(ctx, &registrationv1.MutatingWebhookConfiguration{ObjectMeta: named, Webhooks: []registrationv1.MutatingWebhook{{
		Name: "mutate.bench.example", ClientConfig: way("/mutate"), Rules: []registrationv1.RuleWithOperations{creates}, NamespaceSelector: of, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}}}, opts))
	note(api.ValidatingWebhookConfigurations().Create(ctx, &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: named, Webhooks: []registrationv1.ValidatingWebhook{{
		Name: "validate.bench.example", ClientConfig: way("/validate"), Rules: []registrationv1.RuleWithOperations{creates}, NamespaceSelector: of, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}}}, opts))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return pause(ctx, time.Second) // until the quota has been counted
}
