package extendtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const (
	mutating   = "MutatingWebhookConfiguration"
	validating = "ValidatingWebhookConfiguration"
)

// hooked is a namespace whose config maps the pod's webhooks are asked about.
type hooked struct {
	kit.Kubectl
	bundle string
}

// asked is one of the webhooks; more is what else it says, a field a line.
func (h hooked) asked(path string, more ...string) string {
	return fmt.Sprintf(`
- name: %[1]s.shop.example
  clientConfig: {service: {namespace: %[2]s, name: shop, port: 9443, path: /%[1]s}, caBundle: %[3]s}
  rules: [{operations: [CREATE, UPDATE, DELETE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}
  admissionReviewVersions: [v1]
  sideEffects: None
  %[4]s
`, path, h.Namespace, h.bundle, strings.Join(more, "\n  "))
}

// by has the webhooks asked until the test ends. The server that has taken them, which is the one that kubectl uses, asks them at once.
func (h hooked) by(t *testing.T, kind string, webhooks ...string) {
	t.Helper()
	t.Cleanup(func() { h.Must(t, "delete", kind, h.Namespace) })
	h.In("apiVersion: admissionregistration.k8s.io/v1\nkind: "+kind+"\nmetadata: {name: "+h.Namespace+"}\nwebhooks:"+strings.Join(webhooks, "")).Must(t, "create", "-f", "-")
}

func (h hooked) configMap(name string) kit.Kubectl {
	return h.In("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {a: b}\n")
}

// admitByWebhooks has the pod asked about config maps, and what it answers acted on.
func admitByWebhooks(t *testing.T, k kit.Kubectl, bundle string) {
	h := hooked{k, bundle}
	t.Run("Again", h.askAgain)
	t.Run("DryRun", h.tryOnly)
	t.Run("Conditions", h.failConditions)
	t.Run("Absent", h.doWithout)
}

const notes = "jsonpath={.metadata.annotations.notes}"

// askAgain: who wants to see what a later webhook changed is asked once more, and nobody else is.
func (h hooked) askAgain(t *testing.T) {
	h.by(t, mutating, h.asked("note", "reinvocationPolicy: IfNeeded"), h.asked("tag"))
	out := h.configMap("again").Try("create", "-f", "-")
	if out.Failure() != nil || strings.Count(out.Err, "Warning: noted again") != 1 {
		t.Errorf("kubectl said %+v", out)
	}
	h.Want(t, "CREATE dry=false saw=;CREATE dry=false saw=tagged;", "get", "configmap", "again", "-o", notes)
	h.Must(t, "patch", mutating, h.Namespace, "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/reinvocationPolicy","value":"Never"}]`)
	h.configMap("once").Must(t, "create", "-f", "-")
	h.Want(t, "CREATE dry=false saw=;", "get", "configmap", "once", "-o", notes)
}

// tryOnly: webhooks are told that a request is only tried, and nothing is kept of it.
func (h hooked) tryOnly(t *testing.T) {
	h.by(t, mutating, h.asked("note"), strings.Replace(h.asked("tag"), "sideEffects: None", "sideEffects: NoneOnDryRun", 1))
	m := h.configMap("tried")
	kit.WantMatch(t, m.Must(t, "apply", "--dry-run=server", "-f", "-"), `configmap/tried created \(server dry run\)`)
	m.Want(t, "CREATE dry=true saw=; yes", "create", "--dry-run=server", "-f", "-", "-o", notes+" {.metadata.labels.tagged}")
	m.Want(t, "CREATE dry=true saw=; yes", "apply", "--server-side", "--dry-run=server", "-f", "-", "-o", notes+" {.metadata.labels.tagged}")
	kit.WantMatch(t, h.Fail(t, "get", "configmap", "tried"), `NotFound`)
	if diff := m.Try("diff", "-f", "-"); diff.Code != 1 || kit.Matches(diff.Out, `\+    notes: CREATE dry=true saw=;`) != nil {
		t.Errorf("kubectl diff says %+v", diff)
	}
}

// failConditions: a condition that has no value is a failure of the webhook, whose pod is not asked.
func (h hooked) failConditions(t *testing.T) {
	const broken = `matchConditions: [{name: owned, expression: 'object.data.owner == "me"'}]`
	h.by(t, mutating, h.asked("note", broken))
	kit.WantMatch(t, h.configMap("unowned").Fail(t, "create", "-f", "-"),
		`configmaps "unowned" is forbidden: expression 'object.data.owner == "me"' resulted in error: no such key: owner`)
	h.Must(t, "patch", mutating, h.Namespace, "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	h.configMap("unowned").Must(t, "create", "-f", "-")
	h.Want(t, "", "get", "configmap", "unowned", "-o", notes)
	h.In("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {owner: me}\n").Must(t, "create", "-f", "-")
	h.Want(t, "CREATE dry=false saw=;", "get", "configmap", "owned", "-o", notes)
}

// doWithout: webhooks that hang, babble or are not there are named within their time, or done without.
func (h hooked) doWithout(t *testing.T) {
	for _, c := range []struct{ path, says string }{
		{"hang", `failed calling webhook "hang.shop.example": failed to call webhook: Post "https://shop.NAMESPACE.svc:9443/hang\?timeout=1s": context deadline exceeded`},
		{"babble", `failed calling webhook "babble.shop.example": failed to call webhook: couldn't get version/kind; json parse error`},
		{"nowhere", `failed calling webhook "nowhere.shop.example": failed to call webhook: the server could not find the requested resource`},
	} {
		for _, kind := range []string{mutating, validating} {
			t.Run(c.path+kind, func(t *testing.T) {
				h.by(t, kind, h.asked(c.path, "timeoutSeconds: 1"))
				name := strings.ToLower(c.path + kind)
				kit.WantMatch(t, h.configMap(name).Fail(t, "create", "-f", "-"), strings.ReplaceAll(c.says, "NAMESPACE", h.Namespace))
				h.Must(t, "get", "configmaps")
				h.Must(t, "patch", kind, h.Namespace, "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
				h.configMap(name).Must(t, "create", "-f", "-")
			})
		}
	}
}
