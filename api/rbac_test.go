package api

import (
	"strings"
	"testing"
)

const goodRole = `
metadata: {name: "system:reader", namespace: default}
rules:
- {apiGroups: ["", apps], resources: [pods, deployments/scale], resourceNames: [a], verbs: [get, list]}
- {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}
`

func TestRoleValidation(t *testing.T) {
	const first = "{apiGroups: [\"\", apps], resources: [pods, deployments/scale], resourceNames: [a], verbs: [get, list]}"
	runBad(t, "roles.rbac.authorization.k8s.io", goodRole, []badObject{
		{"no verbs", []string{", verbs: [get, list]", ""}, []string{"rules[0].verbs: Required value: verbs must contain at least one value"}},
		{"no groups", []string{"apiGroups: [\"\", apps], ", ""}, []string{"rules[0].apiGroups: Required value: resource rules must supply at least one api group"}},
		{"no resources", []string{"resources: [pods, deployments/scale], ", ""}, []string{"rules[0].resources: Required value: resource rules must supply at least one resource"}},
		{"nothing", []string{first, "{}"}, []string{
			"rules[0].verbs: Required value", "rules[0].apiGroups: Required value", "rules[0].resources: Required value"}},
		{"paths", []string{first, "{nonResourceURLs: [/healthz], verbs: [get]}"}, []string{
			`rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`}},
		{"paths and resources", []string{first, "{nonResourceURLs: [/healthz], resources: [pods]}"}, []string{
			"rules[0].verbs: Required value",
			`rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`,
			`rules[0].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular resources and non-resource URLs`}},
	})
}

const goodClusterRole = `
metadata: {name: all}
aggregationRule:
  clusterRoleSelectors:
  - matchLabels: {a: b}
  - matchExpressions: [{key: c, operator: Exists}]
rules:
- {apiGroups: [""], resources: ["*/scale"], verbs: [get]}
- {nonResourceURLs: ["/healthz", "/metrics/*", "*"], verbs: [get]}
`

func TestClusterRoleValidation(t *testing.T) {
	const selectors = "aggregationRule.clusterRoleSelectors"
	runBad(t, "clusterroles.rbac.authorization.k8s.io", goodClusterRole, []badObject{
		{"no selectors", []string{":\n  - matchLabels: {a: b}\n  - matchExpressions: [{key: c, operator: Exists}]", ": []"}, []string{
			selectors + ": Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"}},
		{"bad operator", []string{"operator: Exists", "operator: Is"}, []string{
			selectors + `[1].matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
			selectors + "[1]: Invalid value: null: invalid label selector."}},
		{"bad label", []string{"{a: b}", "{a: 'b c'}"}, []string{
			selectors + `[0].matchLabels: Invalid value: "b c"`, selectors + "[0]: Invalid value: null: invalid label selector."}},
		{"empty rule", []string{`{apiGroups: [""], resources: ["*/scale"], verbs: [get]}`, "{}"}, []string{
			"rules[0].verbs: Required value", "rules[0].apiGroups: Required value", "rules[0].resources: Required value"}},
		{"paths and names", []string{`verbs: [get]}
- {nonResourceURLs`, `verbs: [get]}
- {resourceNames: [a], nonResourceURLs`}, []string{
			`rules[1].nonResourceURLs: Invalid value: ["/healthz","/metrics/*","*"]: rules cannot apply to both regular resources and non-resource URLs`}},
	})
}

const goodRoleBinding = `
metadata: {name: "system:readers", namespace: default}
roleRef: {kind: Role, name: "system:reader"}
subjects:
- {kind: User, name: "anna@example.com"}
- {kind: Group, name: "system:masters"}
- {kind: ServiceAccount, name: robot}
`

func TestRoleBindingValidation(t *testing.T) {
	const group = "rbac.authorization.k8s.io"
	runBad(t, "rolebindings."+group, goodRoleBinding, []badObject{
		{"foreign group of role", []string{"kind: Role,", "kind: Role, apiGroup: apps,"}, []string{
			`roleRef.apiGroup: Unsupported value: "apps": supported values: "rbac.authorization.k8s.io"`}},
		{"no kind of role", []string{"kind: Role, ", ""}, []string{`roleRef.kind: Unsupported value: "": supported values: "Role", "ClusterRole"`}},
		{"no name of role", []string{`kind: Role, name: "system:reader"`, "kind: Role"}, []string{"roleRef.name: Required value"}},
		{"name of role is no path segment", []string{`"system:reader"`, "a/b%"}, []string{
			`roleRef.name: Invalid value: "a/b%": may not contain '/'`, `roleRef.name: Invalid value: "a/b%": may not contain '%'`}},
		{"no name of subject", []string{`, name: "anna@example.com"`, ""}, []string{"subjects[0].name: Required value"}},
		{"foreign group of user", []string{"kind: User,", "kind: User, apiGroup: apps,"}, []string{
			`subjects[0].apiGroup: Unsupported value: "apps": supported values: "rbac.authorization.k8s.io"`}},
		{"group of account", []string{"kind: ServiceAccount,", "kind: ServiceAccount, apiGroup: apps,"}, []string{
			`subjects[2].apiGroup: Unsupported value: "apps": supported values: ""`}},
		{"name of account", []string{"name: robot", "name: Robot"}, []string{`subjects[2].name: Invalid value: "Robot": a lowercase RFC 1123 subdomain`}},
		{"kind of subject", []string{"kind: User,", "kind: Robot,"}, []string{
			`subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"`}},
		{"everything", []string{"{kind: User, name: \"anna@example.com\"}", "{}", "{kind: Role, name: \"system:reader\"}", "{apiGroup: x}"}, []string{
			"roleRef.apiGroup: Unsupported value", "roleRef.kind: Unsupported value", "roleRef.name: Required value",
			"subjects[0].name: Required value", "subjects[0].kind: Unsupported value"}},
	})
	runUpdates(t, "rolebindings."+group, goodRoleBinding, []badObject{
		{"role", []string{`name: "system:reader"`, "name: writer"}, []string{
			`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"writer"}: cannot change roleRef`}},
		{"kind of role", []string{"kind: Role,", "kind: ClusterRole,"}, []string{"roleRef: Invalid value"}},
		{"subjects", []string{"name: robot", "name: another"}, nil},
	})
}

const goodClusterRoleBinding = `
metadata: {name: readers}
roleRef: {kind: ClusterRole, name: view}
subjects:
- {kind: User, name: anna}
- {kind: ServiceAccount, name: robot, namespace: default}
`

func TestClusterRoleBindingValidation(t *testing.T) {
	runBad(t, "clusterrolebindings.rbac.authorization.k8s.io", goodClusterRoleBinding, []badObject{
		{"namespaced role", []string{"kind: ClusterRole", "kind: Role"}, []string{`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`}},
		{"account of no namespace", []string{", namespace: default", ""}, []string{"subjects[1].namespace: Required value"}},
		{"account of no name", []string{"name: robot, ", ""}, []string{"subjects[1].name: Required value"}},
	})
	runUpdates(t, "clusterrolebindings.rbac.authorization.k8s.io", goodClusterRoleBinding, []badObject{
		{"role", []string{"name: view", "name: edit"}, []string{
			`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}: cannot change roleRef`}},
		{"subjects", []string{"name: anna", "name: berta"}, nil},
	})
}

func TestRoleNames(t *testing.T) {
	for name, want := range map[string]string{
		"system:controller:job-controller": "", "Anna's rôle": "", "...": "", ".": "may not be '.'", "..": "may not be '..'",
		"a/b": "may not contain '/'", "100%": "may not contain '%'",
	} {
		for _, resource := range []string{"roles", "clusterroles", "rolebindings", "clusterrolebindings"} {
			got := strings.Join(kindNamed(t, resource+".rbac.authorization.k8s.io").ValidateName(name, false), "; ")
			if got != want {
				t.Errorf("%s %q: %q, want %q", resource, name, got, want)
			}
		}
	}
	if faults := validateRoleName("..", true); len(faults) > 0 {
		t.Errorf("the prefix \"..\" will have an end, and then be good: %v", faults)
	}
}

func TestBindingDefaults(t *testing.T) {
	sameYAML(t, load(t, "rolebindings.rbac.authorization.k8s.io", goodRoleBinding), `
metadata:
  name: system:readers
  namespace: default
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: system:reader
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: anna@example.com
- apiGroup: rbac.authorization.k8s.io
  kind: Group
  name: system:masters
- kind: ServiceAccount
  name: robot
`)
	sameYAML(t, load(t, "clusterrolebindings.rbac.authorization.k8s.io", goodClusterRoleBinding), `
metadata:
  name: readers
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: view
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: anna
- kind: ServiceAccount
  name: robot
  namespace: default
`)
}

// A role without rules shows that it has none.
func TestRoleDefaults(t *testing.T) {
	sameYAML(t, load(t, "clusterroles.rbac.authorization.k8s.io", "metadata: {name: none}"), "metadata:\n  name: none\nrules: null")
}

func TestRBACTables(t *testing.T) {
	const subjects = "subjects: [{kind: User, name: a}, {kind: User, name: b}, {kind: Group, name: g}, {kind: ServiceAccount, name: s, namespace: ns}]"
	const bindingHead = "Name|Role|Age||Users|Groups|ServiceAccounts"
	for resource, c := range map[string]struct{ head, object, row string }{
		"roles":        {"Name|Created At", "metadata: {name: r, " + born + "}", "r|2026-01-01T12:00:00Z"},
		"clusterroles": {"Name|Created At", "metadata: {name: r, creationTimestamp: '2026-01-01T12:00:00+02:00'}", "r|2026-01-01T10:00:00Z"},
		"rolebindings": {bindingHead, "metadata: {name: b, " + born + "}\nroleRef: {kind: Role, name: r}\n" + subjects,
			"b|Role/r|5m||a, b|g|ns/s"},
		"clusterrolebindings": {bindingHead, "metadata: {name: b, " + born + "}\nroleRef: {kind: ClusterRole, name: r}",
			"b|ClusterRole/r|5m||||"},
	} {
		k := kindNamed(t, resource+".rbac.authorization.k8s.io")
		if got := headOf(k); got != c.head {
			t.Errorf("%s: head %q, want %q", resource, got, c.head)
		}
		if got := cellsOf(k, c.object, t); got != c.row {
			t.Errorf("%s: row %q, want %q", resource, got, c.row)
		}
	}
}

func TestRBACKindsCreateOnUpdate(t *testing.T) {
	for _, resource := range []string{"roles", "clusterroles", "rolebindings", "clusterrolebindings"} {
		k := kindNamed(t, resource+".rbac.authorization.k8s.io")
		if !k.CreateOnUpdate || k.ClusterScoped != strings.HasPrefix(resource, "cluster") {
			t.Errorf("%s: create on update %v, cluster-scoped %v", resource, k.CreateOnUpdate, k.ClusterScoped)
		}
	}
}
