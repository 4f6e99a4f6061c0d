package kube_test

import (
	"context"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"

	"github.com/peapod-sh/peapod/server/kube"
)

// journal keeps events.
type journal struct {
	mu     sync.Mutex
	events []auditinternal.Event
}

func (j *journal) ProcessEvents(list ...*auditinternal.Event) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range list {
		j.events = append(j.events, *e.DeepCopy())
	}
	return true
}

// of are the finished requests about a resource.
func (j *journal) of(resource string) (out []auditinternal.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		if e.Stage == auditinternal.StageResponseComplete && e.ObjectRef != nil && e.ObjectRef.Resource == resource {
			out = append(out, e)
		}
	}
	return out
}

// TestRequestsAreRecorded: as much of each request as the policy says, also of those that are answered the short way.
func TestRequestsAreRecorded(t *testing.T) {
	rules, err := policy.LoadPolicyFromBytes([]byte(`
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: RequestResponse, resources: [{resources: [configmaps]}]}
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: None}
`))
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	h := start(t, func(c *kube.Config) { c.Audit, c.AuditRules = j, policy.NewPolicyRuleEvaluator(rules) })
	if _, err := h.createConfigMap("c"); err != nil {
		t.Fatal(err)
	}
	h.mutatedBy("noted", newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return allowed("") }).client(), func(w *registrationv1.MutatingWebhook) {
		w.Rules = rulesFor("secrets", registrationv1.Create)
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"a": "hidden"}}
	if _, err := h.client.CoreV1().Secrets("default").Create(context.Background(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.createPod("p", nil); err != nil {
		t.Fatal(err)
	}
	maps := j.of("configmaps")
	if len(maps) != 1 || maps[0].User.Username != "admin" || maps[0].Verb != "create" || maps[0].RequestObject == nil || maps[0].ResponseObject == nil || maps[0].ResponseStatus.Code != 201 {
		t.Errorf("of the config map: %+v", maps)
	}
	secrets := j.of("secrets")
	if len(secrets) != 1 || secrets[0].RequestObject != nil || secrets[0].ResponseObject != nil || secrets[0].ObjectRef.Namespace != "default" {
		t.Errorf("of the secret: %+v", secrets)
	} else if secrets[0].Annotations["mutation.webhook.admission.k8s.io/round_0_index_0"] == "" {
		t.Errorf("the webhook that was asked about the secret is not named: %v", secrets[0].Annotations)
	}
	if pods := j.of("pods"); len(pods) != 0 {
		t.Errorf("of the pod: %+v", pods)
	}
}
