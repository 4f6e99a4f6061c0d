package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/server/kube"
)

// hookServer is a webhook that answers with what a function makes of a request.
type hookServer struct {
	*httptest.Server
	calls atomic.Int32
}

func newHook(t *testing.T, answer func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *hookServer {
	return rawHook(t, func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Errorf("the webhook was sent no review: %v", err)
		}
		review.Response = answer(review.Request)
		review.Response.UID = review.Request.UID
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	})
}

func rawHook(t *testing.T, f http.HandlerFunc) *hookServer {
	h := &hookServer{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		f(w, r)
	}))
	h.Server.Config.ErrorLog = nil
	t.Cleanup(h.Close)
	return h
}

func (h *hookServer) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
}

func (h *hookServer) client() registrationv1.WebhookClientConfig {
	return registrationv1.WebhookClientConfig{URL: ptr.To(h.URL + "/hook"), CABundle: h.bundle()}
}

func allowed(patch string) *admissionv1.AdmissionResponse {
	r := &admissionv1.AdmissionResponse{Allowed: true}
	if patch != "" {
		r.Patch, r.PatchType = []byte(patch), ptr.To(admissionv1.PatchTypeJSONPatch)
	}
	return r
}

func rulesFor(resource string, operations ...registrationv1.OperationType) []registrationv1.RuleWithOperations {
	return []registrationv1.RuleWithOperations{{Operations: operations, Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}}}}
}

// mutatedBy makes a webhook that is asked of new config maps.
func (h *harness) mutatedBy(name string, c registrationv1.WebhookClientConfig, change func(*registrationv1.MutatingWebhook)) {
	h.Helper()
	w := registrationv1.MutatingWebhook{Name: name + ".hooks.example.com", ClientConfig: c, Rules: rulesFor("configmaps", registrationv1.Create),
		SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}}
	if change != nil {
		change(&w)
	}
	config := &registrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []registrationv1.MutatingWebhook{w}}
	if _, err := h.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(context.Background(), config, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) validatedBy(name string, c registrationv1.WebhookClientConfig, change func(*registrationv1.ValidatingWebhook)) {
	h.Helper()
	w := registrationv1.ValidatingWebhook{Name: name + ".hooks.example.com", ClientConfig: c, Rules: rulesFor("configmaps", registrationv1.OperationAll),
		SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: ptr.To(int32(1))}
	if change != nil {
		change(&w)
	}
	config := &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []registrationv1.ValidatingWebhook{w}}
	if _, err := h.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(context.Background(), config, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) createConfigMap(name string) (*corev1.ConfigMap, error) {
	return h.client.CoreV1().ConfigMaps("default").Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "0"}}, metav1.CreateOptions{})
}

// TestMutatingWebhooksCompose is AM015: the second sees what the first made, and both patches are stored.
func TestMutatingWebhooksCompose(t *testing.T) {
	h := start(t)
	first := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return allowed(`[{"op":"add","path":"/data/first","value":"1"}]`)
	})
	second := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var c corev1.ConfigMap
		if err := json.Unmarshal(q.Object.Raw, &c); err != nil || c.Data["first"] != "1" {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "the first was not asked before"}}
		}
		if q.UserInfo.Username != "admin" || q.Namespace != "default" || q.Resource.Resource != "configmaps" || q.Operation != admissionv1.Create {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: fmt.Sprintf("the request says %+v", q)}}
		}
		return allowed(`[{"op":"add","path":"/data/second","value":"2"}]`)
	})
	h.mutatedBy("a", first.client(), nil)
	h.mutatedBy("b", second.client(), nil)
	c, err := h.createConfigMap("c")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(c.Data) != "map[a:0 first:1 second:2]" {
		t.Errorf("stored %v", c.Data)
	}
	// AM003: without the configurations nothing is changed any more.
	if err := h.client.AdmissionregistrationV1().MutatingWebhookConfigurations().DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if c, err = h.createConfigMap("d"); err != nil || len(c.Data) != 1 {
		t.Errorf("without webhooks: %v, %v", c.Data, err)
	}
}

// TestWebhooksAreAskedAgain: a webhook that wishes to see what a later one changed is asked once more, and pods that one changed get
// their defaults (AM020).
func TestWebhooksAreAskedAgain(t *testing.T) {
	h := start(t)
	var seen []int
	counter := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var p corev1.Pod
		_ = json.Unmarshal(q.Object.Raw, &p)
		seen = append(seen, len(p.Spec.InitContainers))
		return allowed("")
	})
	injector := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return allowed(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"injected","image":"i"}]}]`)
	})
	pods := func(w *registrationv1.MutatingWebhook) { w.Rules = rulesFor("pods", registrationv1.Create) }
	h.mutatedBy("a", counter.client(), func(w *registrationv1.MutatingWebhook) {
		pods(w)
		w.ReinvocationPolicy = ptr.To(registrationv1.IfNeededReinvocationPolicy)
	})
	h.mutatedBy("b", injector.client(), pods)
	p, err := h.createPod("p", nil)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[0 1]" || injector.calls.Load() != 1 {
		t.Errorf("the first saw %v init containers, the second was asked %d times", seen, injector.calls.Load())
	}
	if len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].TerminationMessagePath != "/dev/termination-log" || len(p.Spec.InitContainers[0].VolumeMounts) != len(p.Spec.Containers[0].VolumeMounts) {
		t.Errorf("the injected container is %+v", p.Spec.InitContainers)
	}
}

// TestValidatingWebhooksRefuse is AM004, AM011, AM019 and AM021.
func TestValidatingWebhooksRefuse(t *testing.T) {
	h, ctx := start(t), context.Background()
	never := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "no " + string(q.Operation), Code: 418}, Warnings: []string{"careful"}}
	})
	if _, err := h.createConfigMap("old"); err != nil {
		t.Fatal(err)
	}
	h.validatedBy("v", never.client(), func(w *registrationv1.ValidatingWebhook) {
		w.Rules[0].Resources, w.Rules[0].APIGroups = []string{"configmaps", "validatingwebhookconfigurations"}, []string{"", "admissionregistration.k8s.io"}
		w.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "free", Operator: metav1.LabelSelectorOpDoesNotExist}}}
		w.MatchConditions = []registrationv1.MatchCondition{{Name: "not-skipped", Expression: `request.name != "skipped"`}}
	})
	api := h.client.CoreV1().ConfigMaps("default")
	_, err := h.createConfigMap("new")
	if err == nil || !strings.Contains(err.Error(), `admission webhook "v.hooks.example.com" denied the request: no CREATE`) {
		t.Errorf("creating: %v", err)
	}
	_, err = api.Update(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, metav1.UpdateOptions{})
	if err == nil || !strings.Contains(err.Error(), "no UPDATE") {
		t.Errorf("updating: %v", err)
	}
	if err = api.Delete(ctx, "old", metav1.DeleteOptions{}); err == nil || !strings.Contains(err.Error(), "no DELETE") {
		t.Errorf("deleting: %v", err)
	}
	if _, err = h.createConfigMap("skipped"); err != nil {
		t.Errorf("what the conditions leave out: %v", err)
	}
	h.have("", "namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "free", UID: "free", Labels: map[string]string{"free": "yes"}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	if _, err = h.client.CoreV1().ConfigMaps("free").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("in a namespace that is left out: %v", err)
	}
	if err = h.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, "v", metav1.DeleteOptions{}); err != nil {
		t.Errorf("a webhook keeps itself from being removed: %v", err)
	}
	if _, err = h.createConfigMap("new"); err != nil {
		t.Errorf("without the webhook: %v", err)
	}
}

// TestBadWebhooks: whatever a webhook does, there is a clear error in time, or none if its failure is to be ignored (AM013, AM024).
func TestBadWebhooks(t *testing.T) {
	gone := newHook(t, nil)
	gone.Close()
	gone.URL = strings.Replace(gone.URL, "127.0.0.1", "127.0.0.2", 1) // where no other test's server takes the port
	elsewhere := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return allowed("") })
	for name, c := range map[string]struct {
		hook *hookServer
		says string
	}{
		"hangs": {rawHook(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), "context deadline exceeded"},
		"answers garbage": {rawHook(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{]") }), "invalid character"},
		"answers nothing": {rawHook(t, func(http.ResponseWriter, *http.Request) {}), "0-length response"},
		"breaks":          {rawHook(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ouch", 500) }), "ouch"},
		"redirects": {rawHook(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}), "redirect to"},
		"lies about whom it answers": {rawHook(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"another","allowed":true}}`)
		}), "expected response.uid"},
		"patches nonsense": {newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return allowed(`[{"op":"replace","path":"/none/such","value":1}]`)
		}), "/none/such"},
		"replaces everything by nothing": {newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return allowed(`[{"op":"replace","path":""}]`)
		}), "patch cannot be applied to configmaps \"c\""},
		"answers without end": {rawHook(t, func(w http.ResponseWriter, _ *http.Request) {
			for blank := []byte(strings.Repeat(" ", 1<<20)); ; {
				if _, err := w.Write(blank); err != nil {
					return
				}
			}
		}), "longer than"},
		"is gone": {gone, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			policy := registrationv1.Fail
			h.mutatedBy("w", c.hook.client(), func(w *registrationv1.MutatingWebhook) {
				w.TimeoutSeconds = ptr.To(int32(20)) // beside a busy neighbour much takes seconds
				if name == "hangs" {
					w.TimeoutSeconds = ptr.To(int32(2))
				}
				w.FailurePolicy = &policy
			})
			if found := h.server.ExamineHooks(context.Background()); (len(found) > 0) != (name == "is gone") {
				t.Errorf("examined: %v", found)
			}
			_, err := h.createConfigMap("c")
			decides := slices.Contains([]string{"patches nonsense", "replaces everything by nothing"}, name)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "w.hooks.example.com") && !decides {
				t.Fatalf("the error is %v, and should say %q", err, c.says)
			}
			if decides {
				return // that is the webhook's decision, not its absence
			}
			api := h.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
			_, err = api.Patch(context.Background(), "w", "application/json-patch+json", []byte(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`), metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = h.createConfigMap("c"); err != nil {
				t.Errorf("with the failure ignored: %v", err)
			}
		})
	}
	if elsewhere.calls.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// podNetwork is nodes that reach every address.
type podNetwork struct{ *testing.T }

func (n podNetwork) DialNode(context.Context, string) (net.Conn, error) {
	client, node := net.Pipe()
	go func() {
		l := &oneConn{conns: make(chan net.Conn, 1)}
		l.conns <- node
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			to, err := net.Dial("tcp", strings.TrimPrefix(r.URL.Path, "/dial/"))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			from, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				n.Error(err)
				return
			}
			fmt.Fprint(from, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			go func() { _, _ = io.Copy(to, from); to.Close() }()
			_, _ = io.Copy(from, to)
			from.Close()
		}))
	}()
	return client, nil
}

type oneConn struct{ conns chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// TestServiceWebhooks go through the cluster's nodes, and do not wait for themselves.
func TestServiceWebhooks(t *testing.T) {
	h := start(t, func(c *kube.Config) { c.Nodes = podNetwork{t} })
	hook := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return allowed(`[{"op":"add","path":"/metadata/annotations","value":{"seen":"yes"}}]`)
	})
	hook.TLS.Certificates = []tls.Certificate{h.ca.issue(t, pkix.Name{CommonName: "guard"}, x509.ExtKeyUsageServerAuth, "guard.default.svc")}
	h.have("", "services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "guard", UID: "s"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "guard"}, Ports: []corev1.ServicePort{{Port: 443}}}})
	h.mutatedBy("w", registrationv1.WebhookClientConfig{Service: &registrationv1.ServiceReference{Namespace: "default", Name: "guard", Path: ptr.To("/hook")}, CABundle: h.ca.pem()},
		func(w *registrationv1.MutatingWebhook) { w.Rules = rulesFor("pods", registrationv1.Create) })

	if found := h.server.ExamineHooks(context.Background()); len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].Fault, "no endpoints available") {
		t.Errorf("examined without an endpoint: %v", found)
	}
	_, err := h.createPod("before", nil)
	if err == nil || !strings.Contains(err.Error(), `no endpoints available for service "guard"`) {
		t.Fatalf("without an endpoint: %v", err)
	}
	own := pod("own", "")
	own.Labels = map[string]string{"app": "guard"}
	if _, err := h.client.CoreV1().Pods("default").Create(context.Background(), own, metav1.CreateOptions{}); err != nil {
		t.Fatalf("the webhook's own pod, while nothing of it runs: %v", err)
	}
	address := hook.Listener.Addr().(*net.TCPAddr)
	h.have("discovery.k8s.io", "endpointslices", &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "guard-1", UID: "e", Labels: map[string]string{discoveryv1.LabelServiceName: "guard"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(address.Port))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, NodeName: ptr.To("node1")}}})
	if found := h.server.ExamineHooks(context.Background()); len(found) != 0 {
		t.Errorf("examined with an endpoint: %v", found)
	}
	p, err := h.createPod("after", nil)
	if err != nil || p.Annotations["seen"] != "yes" {
		t.Errorf("with an endpoint: %v, %v", p, err)
	}
}

func policyFor(name, group, resource string) *registrationv1.MatchResources {
	return &registrationv1.MatchResources{ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: registrationv1.RuleWithOperations{
		Operations: []registrationv1.OperationType{registrationv1.OperationAll}, Rule: registrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}}}}}}
}

// TestValidatingPolicies is AM091 and AM094, with parameters.
func TestValidatingPolicies(t *testing.T) {
	h, ctx := start(t), context.Background()
	api := h.client.AdmissionregistrationV1()
	p := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: registrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: policyFor("few", "", "configmaps"), ParamKind: &registrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		Variables:   []registrationv1.Variable{{Name: "most", Expression: "int(params.data.most)"}},
		Validations: []registrationv1.Validation{{Expression: "size(object.data) <= variables.most", MessageExpression: "'at most ' + string(variables.most) + ' entries'", Reason: ptr.To(metav1.StatusReasonInvalid)}},
	}}
	if _, err := api.ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.have("", "configmaps", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "limit", UID: "limit"}, Data: map[string]string{"most": "0"}})
	if _, err := h.createConfigMap("unbound"); err != nil {
		t.Fatalf("a policy without a binding counts: %v", err)
	}
	b := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "few",
		ParamRef: &registrationv1.ParamRef{Name: "limit", ParameterNotFoundAction: ptr.To(registrationv1.DenyAction)}, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}}
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := h.createConfigMap("c")
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'few' with binding 'few' denied request: at most 0 entries") {
		t.Fatalf("refused with %v", err)
	}
	if _, err = h.client.CoreV1().ConfigMaps("default").Patch(ctx, "limit", "application/merge-patch+json", []byte(`{"data":{"most":"9"}}`), metav1.PatchOptions{}); err == nil {
		t.Error("the parameter itself keeps to the policy, yet was changed")
	}
	if err = api.ValidatingAdmissionPolicyBindings().Delete(ctx, "few", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = h.createConfigMap("c"); err != nil {
		t.Errorf("without the binding: %v", err)
	}
}

// TestMutatingPolicies is AM064 and AM065.
func TestMutatingPolicies(t *testing.T) {
	h, ctx := start(t), context.Background()
	api := h.client.AdmissionregistrationV1()
	p := &registrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: registrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: policyFor("m", "", "configmaps"), ReinvocationPolicy: registrationv1.NeverReinvocationPolicy, FailurePolicy: ptr.To(registrationv1.Fail),
		Mutations: []registrationv1.Mutation{
			{PatchType: registrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &registrationv1.ApplyConfiguration{Expression: `Object{metadata: Object.metadata{annotations: {"by": "apply"}}}`}},
			{PatchType: registrationv1.PatchTypeJSONPatch, JSONPatch: &registrationv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/data/extra", value: "by " + request.userInfo.username}]`}},
		}}}
	if _, err := api.MutatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b := &registrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: registrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "m"}}
	if _, err := api.MutatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := h.createConfigMap("c")
	if err != nil {
		t.Fatal(err)
	}
	if c.Annotations["by"] != "apply" || c.Data["extra"] != "by admin" || c.Data["a"] != "0" {
		t.Errorf("stored %v %v", c.Annotations, c.Data)
	}
}

// TestHostileExpressions (AM022, AM023): what does not compile, or costs too much, is refused when it is written or when it is evaluated.
func TestHostileExpressions(t *testing.T) {
	h, ctx := start(t), context.Background()
	w := registrationv1.ValidatingWebhook{Name: "w.hooks.example.com", ClientConfig: registrationv1.WebhookClientConfig{URL: ptr.To("https://localhost")}, SideEffects: ptr.To(registrationv1.SideEffectClassNone),
		AdmissionReviewVersions: []string{"v1"}, MatchConditions: []registrationv1.MatchCondition{{Name: "bad", Expression: "... [] bad expression"}}}
	config := &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "w"}, Webhooks: []registrationv1.ValidatingWebhook{w}}
	_, err := h.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, config, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "compilation failed") {
		t.Errorf("refused with %v", err)
	}
	p := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: registrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyFor("p", "", "configmaps"),
		Validations: []registrationv1.Validation{{Expression: "object.data.all(a, object.data.all(b, object.data.all(c, object.data.all(d, a + b + c + d != 'x'))))"}}}}
	if _, err = h.client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "p", ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}}
	if _, err = h.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Data: map[string]string{}}
	for i := range 400 {
		big.Data[fmt.Sprint("k", i)] = "v"
	}
	_, err = h.client.CoreV1().ConfigMaps("default").Create(ctx, big, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "cost") {
		t.Errorf("refused with %v", err)
	}
}
