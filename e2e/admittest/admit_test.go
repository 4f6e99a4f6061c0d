package admittest

import (
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "admittest"}) }

func space(t *testing.T) kit.Kubectl {
	t.Helper()
	l := kit.Shared(t)
	return l.Kubectl(l.MakeNamespace(t))
}

// await waits until what kubectl prints matches an expression.
func await(t *testing.T, k kit.Kubectl, expression string, args ...string) {
	t.Helper()
	kit.Eventually(t, limit, expression, func() error { return kit.Matches(k.Must(t, args...), expression) })
}

// TestQuotaLimitsAController: a Deployment gets as many pods as the quota allows, says why there are no more, and gets them when there is room.
func TestQuotaLimitsAController(t *testing.T) {
	k := space(t)
	k.Must(t, "create", "quota", "q", "--hard=pods=2")
	await(t, k, "pods: 0/2", "get", "quota", "q")
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--replicas=3")
	await(t, k, "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2", "get", "deployment", "web", "-o", "jsonpath={.status.conditions[*].message}")
	await(t, k, "^2$", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	k.Must(t, "patch", "quota", "q", "--patch", `{"spec":{"hard":{"pods":"3"}}}`)
	await(t, k, "^3$", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	await(t, k, "pods: 3/3", "get", "quota", "q")
}

// TestPolicyHoldsForControllers: what a policy refuses no controller makes.
func TestPolicyHoldsForControllers(t *testing.T) {
	k := space(t)
	k.In(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: `+k.Namespace+`}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: `+k.Namespace+`}}
    resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]
  validations: [{expression: 'object.metadata.?labels.owner.orValue("") != ""', message: say who owns it}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: `+k.Namespace+`}
spec: {policyName: `+k.Namespace+`, validationActions: [Deny]}
`).Must(t, "apply", "-f", "-")
	t.Cleanup(func() {
		k.Must(t, "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", k.Namespace)
	})
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo")
	await(t, k, "denied request: say who owns it", "get", "deployment", "web", "-o", "jsonpath={.status.conditions[*].message}")
	k.Must(t, "patch", "deployment", "web", "--patch", `{"spec":{"template":{"metadata":{"labels":{"owner":"me"}}}}}`)
	await(t, k, "^1$", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
}

// TestWebhookStartsItself: nothing of a webhook runs, and yet its own pods come up, while others wait for it.
func TestWebhookStartsItself(t *testing.T) {
	k := space(t)
	k.Must(t, "create", "service", "clusterip", "guard", "--tcp=443:8443")
	k.In(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: `+k.Namespace+`}
webhooks:
- name: guard.hooks.example.com
  clientConfig: {service: {namespace: `+k.Namespace+`, name: guard}}
  rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: `+k.Namespace+`}}
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 2
`).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Must(t, "delete", "validatingwebhookconfiguration", k.Namespace) })
	k.Must(t, "create", "deployment", "other", "--image=peapod/demo")
	await(t, k, `failed calling webhook "guard.hooks.example.com".*no endpoints available`, "get", "deployment", "other", "-o", "jsonpath={.status.conditions[*].message}")
	k.Must(t, "create", "deployment", "guard", "--image=peapod/demo")
	await(t, k, "^1$", "get", "deployment", "guard", "-o", "jsonpath={.status.readyReplicas}")
}
