package api

import "testing"

const (
	mutatingHooksKind   = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
	validatingHooksKind = "validatingwebhookconfigurations.admissionregistration.k8s.io"
	validatingKind      = "validatingadmissionpolicies.admissionregistration.k8s.io"
	validatingBoundKind = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
	mutatingKind        = "mutatingadmissionpolicies.admissionregistration.k8s.io"

	goodHooks = `
metadata: {name: hooks, ` + born + `}
webhooks:
- name: one.example.com
  clientConfig: {service: {namespace: default, name: hook, path: /ask}}
  rules: [{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]
  sideEffects: None
  admissionReviewVersions: [v1]
  matchConditions: [{name: a, expression: 'object.metadata.name != "x"'}]
`
	goodPolicy = `
metadata: {name: policy, ` + born + `}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints: {resourceRules: [{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}
  variables: [{name: most, expression: int(params.data.most)}]
  validations: [{expression: object.spec.containers.size() <= variables.most, message: few}]
  auditAnnotations: [{key: count, valueExpression: string(variables.most)}]
`
	goodMutation = `
metadata: {name: policy, ` + born + `}
spec:
  matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}
  reinvocationPolicy: Never
  mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: "remove", path: "/a"}]'}}]
`
	goodBound = `
metadata: {name: binding, ` + born + `}
spec: {policyName: policy, validationActions: [Deny, Audit], paramRef: {name: params, parameterNotFoundAction: Deny}}
`
)

func TestWebhookValidation(t *testing.T) {
	const hook = "webhooks[0]"
	for _, kind := range []string{mutatingHooksKind, validatingHooksKind} {
		runBad(t, kind, goodHooks, []badObject{
			{"name", []string{"one.example.com", "one"}, []string{hook + ".name: Invalid value: \"one\": should be a domain with at least three segments separated by dots"}},
			{"no way", []string{"service: {namespace: default, name: hook, path: /ask}", ""}, []string{hook + ".clientConfig: Required value: exactly one of url or service is required"}},
			{"url", []string{"service: {namespace: default, name: hook, path: /ask}", "url: 'http://a/'"}, []string{hook + ".clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme"}},
			{"path", []string{"/ask", "ask"}, []string{hook + ".clientConfig.service.path: Invalid value: \"ask\": must start with a '/'"}},
			{"effects", []string{"sideEffects: None", "sideEffects: Some"}, []string{hook + `.sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`}},
			{"no effects", []string{"sideEffects: None", ""}, []string{hook + ".sideEffects: Required value"}},
			{"reviews", []string{"admissionReviewVersions: [v1]", "admissionReviewVersions: [v7]"}, []string{hook + ".admissionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1"}},
			{"timeout", []string{"sideEffects: None", "sideEffects: None\n  timeoutSeconds: 31"}, []string{hook + ".timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"}},
			{"operation", []string{"[CREATE]", "[DREAM]"}, []string{hook + `.rules[0].operations[0]: Unsupported value: "DREAM"`}},
			{"all and more", []string{"[CREATE]", "[CREATE, '*']"}, []string{hook + ".rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations"}},
			{"part of all", []string{"[deployments]", "[deployments/*, deployments/scale]"}, []string{hook + ".rules[0].resources[1]: Invalid value: \"deployments/scale\": if 'deployments/*' is present, must not specify deployments/scale"}},
			{"expression", []string{"!= \"x\"", "!= 3 +"}, []string{hook + ".matchConditions[0].expression: Invalid value: \"object.metadata.name != 3 +\": compilation failed"}},
			{"no bool", []string{"object.metadata.name != \"x\"", "1"}, []string{hook + ".matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool"}},
		})
	}
}

func TestAdmissionPolicyValidation(t *testing.T) {
	runBad(t, validatingKind, goodPolicy, []badObject{
		{"no validations", []string{"validations: [{expression: object.spec.containers.size() <= variables.most, message: few}]", "", "auditAnnotations: [{key: count, valueExpression: string(variables.most)}]", ""},
			[]string{"spec.validations: Required value: validations or auditAnnotations must be specified", "spec.auditAnnotations: Required value: validations or auditAnnotations must be specified"}},
		{"no constraints", []string{"resourceRules: [{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: [pods]}]", ""}, []string{"spec.matchConstraints.resourceRules: Required value"}},
		{"unknown variable", []string{"<= variables.most", "<= variables.least"}, []string{"spec.validations[0].expression: Invalid value: \"object.spec.containers.size() <= variables.least\": compilation failed: ERROR: <input>:1:43: undefined field 'least'"}},
		{"variable's name", []string{"name: most", "name: in"}, []string{"spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier",
			"spec.validations[0].expression: Invalid value", "spec.auditAnnotations[0].valueExpression: Invalid value"}},
		{"params without a kind", []string{"paramKind: {apiVersion: v1, kind: ConfigMap}", ""}, []string{"spec.variables[0].expression: Invalid value: \"int(params.data.most)\": compilation failed: ERROR: <input>:1:5: undeclared reference to 'params'"}},
		{"annotation", []string{"string(variables.most)", "variables.most + 1"}, []string{"spec.auditAnnotations[0].valueExpression: Invalid value"}},
		{"reason", []string{"message: few", "message: few, reason: Because"}, []string{`spec.validations[0].reason: Unsupported value: "Because"`}},
	})
	runBad(t, mutatingKind, goodMutation, []badObject{
		{"no mutations", []string{"mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: \"remove\", path: \"/a\"}]'}}]", ""}, []string{"spec.mutations: Required value"}},
		{"type", []string{"patchType: JSONPatch", "patchType: Glue"}, []string{`spec.mutations[0].patchType: Unsupported value: "Glue"`}},
		{"no patch", []string{"'[JSONPatch{op: \"remove\", path: \"/a\"}]'", "'1'"}, []string{"spec.mutations[0].jsonPatch.expression: Invalid value: \"1\": must evaluate to"}},
		{"reinvocation", []string{"reinvocationPolicy: Never", ""}, []string{"spec.reinvocationPolicy: Required value"}},
	})
	runBad(t, validatingBoundKind, goodBound, []badObject{
		{"no policy", []string{"policyName: policy, ", ""}, []string{"spec.policyName: Required value"}},
		{"actions", []string{"[Deny, Audit]", "[Deny, Warn]"}, []string{"spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn"}},
		{"no actions", []string{"[Deny, Audit]", "[]"}, []string{"spec.validationActions: Required value"}},
		{"params", []string{"name: params, ", ""}, []string{"spec.paramRef: Required value: one of name or selector must be specified"}},
		{"not found", []string{", parameterNotFoundAction: Deny", ""}, []string{"spec.paramRef.parameterNotFoundAction: Required value"}},
	})
}

func TestWebhookDefaults(t *testing.T) {
	sameYAML(t, load(t, mutatingHooksKind, goodHooks), `
metadata:
  creationTimestamp: "2026-01-01T12:00:00Z"
  name: hooks
webhooks:
- admissionReviewVersions:
  - v1
  clientConfig:
    service:
      name: hook
      namespace: default
      path: /ask
      port: 443
  failurePolicy: Fail
  matchConditions:
  - expression: object.metadata.name != "x"
    name: a
  matchPolicy: Equivalent
  name: one.example.com
  namespaceSelector: {}
  objectSelector: {}
  reinvocationPolicy: Never
  rules:
  - apiGroups:
    - apps
    apiVersions:
    - v1
    operations:
    - CREATE
    resources:
    - deployments
    scope: '*'
  sideEffects: None
  timeoutSeconds: 10
`)
}

func TestAdmissionTables(t *testing.T) {
	for kind, c := range map[string]struct{ object, row string }{
		mutatingHooksKind:   {goodHooks, "hooks|1|5m"},
		validatingHooksKind: {goodHooks, "hooks|1|5m"},
		validatingKind:      {goodPolicy, "policy|1|v1/ConfigMap|5m"},
		mutatingKind:        {goodMutation, "policy|1|<unset>|5m"},
		validatingBoundKind: {goodBound, "binding|policy|params|5m"},
	} {
		if got := cellsOf(kindNamed(t, kind), c.object, t); got != c.row {
			t.Errorf("%s: %s, not %s", kind, got, c.row)
		}
	}
}
