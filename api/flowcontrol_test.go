package api

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	schemas = "flowschemas.flowcontrol.apiserver.k8s.io"
	levels  = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io"

	goodSchema = `
metadata: {name: batch, ` + born + `}
spec:
  priorityLevelConfiguration: {name: workload-low}
  matchingPrecedence: 8000
  distinguisherMethod: {type: ByNamespace}
  rules:
  - subjects:
    - {kind: User, user: {name: kim}}
    - {kind: Group, group: {name: 'system:authenticated'}}
    - {kind: ServiceAccount, serviceAccount: {name: '*', namespace: batch}}
    resourceRules:
    - {verbs: [get, list], apiGroups: [batch], resources: [jobs], namespaces: [batch, night]}
    nonResourceRules:
    - {verbs: ['*'], nonResourceURLs: [/healthz, '/livez/*', /]}
`
	goodLevel = `
metadata: {name: batch, ` + born + `}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 10
    lendablePercent: 50
    borrowingLimitPercent: 200
    limitResponse: {type: Queue, queuing: {queues: 16, handSize: 4, queueLengthLimit: 20}}
`
)

func TestFlowSchemaValidation(t *testing.T) {
	const rule = "spec.rules[0]"
	runBad(t, schemas, goodSchema, []badObject{
		{"no level", []string{"workload-low", "''"}, []string{"spec.priorityLevelConfiguration.name: Required value: must reference a priority level"}},
		{"level", []string{"workload-low", "Low"}, []string{`spec.priorityLevelConfiguration.name: Invalid value: "Low": a lowercase RFC 1123 subdomain`}},
		{"precedence below", []string{"8000", "-1"}, []string{"spec.matchingPrecedence: Invalid value: -1: must be a positive value"}},
		{"precedence above", []string{"8000", "10001"}, []string{"spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"}},
		{"precedence of exempt", []string{"8000", "1"}, []string{"spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"}},
		{"method", []string{"ByNamespace", "ByMoon"}, []string{`spec.distinguisherMethod.type: Unsupported value: "ByMoon": supported values: "ByNamespace", "ByUser"`}},
		{"subject kind", []string{"kind: User", "kind: Robot"}, []string{rule + `.subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"`}},
		{"two members", []string{"user: {name: kim}", "user: {name: kim}, group: {name: a}"}, []string{rule + ".subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'"}},
		{"wrong member", []string{"user: {name: kim}", "serviceAccount: {name: a, namespace: b}"}, []string{
			rule + ".subjects[0].user: Required value: user is required when subject kind is 'User'",
			rule + ".subjects[0].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
		}},
		{"nameless user", []string{"name: kim", "name: ''"}, []string{rule + ".subjects[0].user.name: Required value"}},
		{"service account", []string{"name: '*', namespace: batch", "name: A"}, []string{
			rule + `.subjects[2].serviceAccount.name: Invalid value: "A": a lowercase RFC 1123 subdomain`,
			rule + ".subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account",
		}},
		{"verb", []string{"[get, list]", "[get, eat]"}, []string{rule + `.resourceRules[0].verbs: Unsupported value: ["get","eat"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`}},
		{"verb and all", []string{"[get, list]", "['*', list]"}, []string{rule + `.resourceRules[0].verbs: Invalid value: ["*","list"]: if '*' is present, must not specify other verbs`}},
		{"all and one more", []string{"[batch]", "['*', batch]", "[jobs]", "['*', jobs]", "[batch, night]", "['*', night]", "[/healthz,", "['*',"}, []string{
			rule + `.resourceRules[0].apiGroups: Invalid value: ["*","batch"]: if '*' is present, must not specify other api groups`,
			rule + `.resourceRules[0].resources: Invalid value: ["*","jobs"]: if '*' is present, must not specify other resources`,
			rule + `.resourceRules[0].namespaces: Invalid value: ["*","night"]: if '*' is present, must not specify other namespaces`,
			rule + `.nonResourceRules[0].nonResourceURLs: Invalid value: ["*","/livez/*","/"]: if '*' is present, must not specify other non-resource URLs`,
		}},
		{"empty rule", []string{"verbs: [get, list], apiGroups: [batch], resources: [jobs], namespaces: [batch, night]", ""}, []string{
			rule + ".resourceRules[0].verbs: Required value: verbs must contain at least one value",
			rule + ".resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
			rule + ".resourceRules[0].resources: Required value: resource rules must supply at least one resource",
			rule + ".resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
		}},
		{"cluster scope", []string{"namespaces: [batch, night]", "clusterScope: true"}, nil},
		{"namespace", []string{"night]", "Night]"}, []string{rule + `.resourceRules[0].namespaces[1]: Invalid value: "Night": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label`}},
		{"no urls", []string{"nonResourceURLs: [/healthz, '/livez/*', /]", ""}, []string{rule + ".nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value"}},
		{"urls", []string{"[/healthz, '/livez/*', /]", "['', a, '/a b', //a, '/a*', '/*/*']"}, []string{
			rule + `.nonResourceRules[0].nonResourceURLs[0]: Invalid value: "": must not be empty`,
			rule + `.nonResourceRules[0].nonResourceURLs[1]: Invalid value: "a": must start with slash`,
			rule + `.nonResourceRules[0].nonResourceURLs[2]: Invalid value: "/a b": must not contain white-space`,
			rule + `.nonResourceRules[0].nonResourceURLs[3]: Invalid value: "//a": must not contain double slash`,
			rule + `.nonResourceRules[0].nonResourceURLs[4]: Invalid value: "/a*": wildcard can only do suffix matching`,
			rule + `.nonResourceRules[0].nonResourceURLs[5]: Invalid value: "/*/*": wildcard can only do suffix matching`,
		}},
	})
	k := kindNamed(t, schemas)
	const pl = "metadata: {name: a}\nspec: {priorityLevelConfiguration: {name: b}, "
	sameFaults(t, k.Validate(load(t, schemas, pl+"rules: [{}]}")),
		"spec.rules[0].subjects: Required value: subjects must contain at least one value",
		"spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty")
	sameFaults(t, k.ValidateStatusUpdate(load(t, schemas, pl+"}\nstatus: {conditions: [{type: Dangling}, {type: Dangling}, {}]}"), k.New()),
		`status.conditions[1].type: Duplicate value: "Dangling"`, "status.conditions[2].type: Required value: must not be empty")
}

func TestPriorityLevelValidation(t *testing.T) {
	const response = "spec.limited.limitResponse"
	runBad(t, levels, goodLevel, []badObject{
		{"no type", []string{"type: Limited", ""}, []string{"spec.type: Required value"}},
		{"type", []string{"type: Limited", "type: Free"}, []string{`spec.type: Unsupported value: "Free": supported values: "Exempt", "Limited"`}},
		{"exempt by another name", []string{"type: Limited", "type: Exempt"}, []string{
			"spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if `name` is 'exempt'",
			"spec.limited: Forbidden: must be nil if the type is not Limited",
		}},
		{"both", []string{"type: Limited", "type: Limited\n  exempt: {}"}, []string{"spec.exempt: Forbidden: must be nil if the type is Limited"}},
		{"numbers", []string{"Shares: 10", "Shares: -1", "lendablePercent: 50", "lendablePercent: 101", "borrowingLimitPercent: 200", "borrowingLimitPercent: -1"}, []string{
			"spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
			"spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
			"spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
		}},
		{"jail", []string{"Shares: 10", "Shares: 0"}, nil},
		{"response", []string{"type: Queue", "type: Ignore"}, []string{response + `.type: Unsupported value: "Ignore": supported values: "Queue", "Reject"`}},
		{"reject and queue", []string{"type: Queue", "type: Reject"}, []string{response + ".queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"}},
		{"queue without queues", []string{", queuing: {queues: 16, handSize: 4, queueLengthLimit: 20}", ""}, []string{response + ".queuing: Required value: must not be empty if limited.limitResponse.type is Limited"}},
		{"negative queues", []string{"queues: 16", "queues: -1", "handSize: 4", "handSize: -1", "Limit: 20", "Limit: -1"}, []string{
			response + ".queuing.queues: Invalid value: -1: must be positive",
			response + ".queuing.handSize: Invalid value: -1: must be positive",
			response + ".queuing.queueLengthLimit: Invalid value: -1: must be positive",
		}},
		{"too many queues", []string{"queues: 16", "queues: 10000001", "handSize: 4", "handSize: 1"}, []string{response + ".queuing.queues: Invalid value: 10000001: must not be greater than 10000000"}},
		{"hand larger than deck", []string{"handSize: 4", "handSize: 17"}, []string{response + ".queuing.handSize: Invalid value: 17: should not be greater than queues (16)"}},
		{"hand of many bits", []string{"queues: 16", "queues: 512", "handSize: 4", "handSize: 8"}, []string{response + ".queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60"}},
	})
	sameFaults(t, kindNamed(t, levels).Validate(load(t, levels, "metadata: {name: a}\nspec: {type: Limited}")),
		"spec.limited: Required value: must not be empty when type is Limited")
}

// What Kubernetes makes of itself is valid here, complete, and stays as it is.
func TestMandatoryFlowControl(t *testing.T) {
	made := func(resource string, list ...runtime.Object) {
		k := kindNamed(t, resource)
		for _, o := range list {
			defaulted := o.DeepCopyObject()
			Scheme.Default(defaulted)
			if !equality.Semantic.DeepEqual(o, defaulted) {
				t.Errorf("%s: defaulting changes %v", resource, o)
			}
			sameFaults(t, k.Validate(o))
		}
	}
	fixedSchemas, suggestedSchemas := FlowSchemas()
	fixedLevels, suggestedLevels := PriorityLevels()
	if len(fixedSchemas) != 2 || len(fixedLevels) != 2 || len(suggestedSchemas) == 0 || len(suggestedLevels) == 0 {
		t.Fatal("Kubernetes' own objects are missing")
	}
	for _, f := range append(fixedSchemas, suggestedSchemas...) {
		made(schemas, f)
	}
	for _, l := range append(fixedLevels, suggestedLevels...) {
		made(levels, l)
	}

	for _, f := range fixedSchemas {
		f.Spec.Rules = f.Spec.Rules[:0]
		sameFaults(t, kindNamed(t, schemas).Validate(f), "spec: Invalid value")
	}
	for _, l := range fixedLevels {
		shares := int32(3)
		if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			l.Spec.Exempt.NominalConcurrencyShares = &shares
			sameFaults(t, kindNamed(t, levels).Validate(l))
			l.Spec = flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited}
			sameFaults(t, kindNamed(t, levels).Validate(l), "spec.type: Invalid value", "spec.limited: Required value", "spec: Invalid value")
			continue
		}
		l.Spec.Limited.NominalConcurrencyShares = &shares
		sameFaults(t, kindNamed(t, levels).Validate(l), "spec: Invalid value")
	}
	if again, _ := PriorityLevels(); len(again[0].Spec.Type) == 0 || valueOf(again[0].Spec.Limited.NominalConcurrencyShares) == 3 {
		t.Error("whoever changed his copy changed everyone's")
	}
}

func TestFlowControlDefaults(t *testing.T) {
	sameYAML(t, load(t, schemas, "metadata: {name: a}\nspec: {priorityLevelConfiguration: {name: b}}"), `
metadata:
  name: a
spec:
  matchingPrecedence: 1000
  priorityLevelConfiguration:
    name: b
status: {}
`)
	sameYAML(t, load(t, levels, "metadata: {name: a}\nspec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}"), `
metadata:
  name: a
spec:
  limited:
    lendablePercent: 0
    limitResponse:
      queuing:
        handSize: 8
        queueLengthLimit: 50
        queues: 64
      type: Queue
    nominalConcurrencyShares: 30
  type: Limited
status: {}
`)
	sameYAML(t, load(t, levels, "metadata: {name: exempt}\nspec: {type: Exempt}"), `
metadata:
  name: exempt
spec:
  exempt:
    lendablePercent: 0
    nominalConcurrencyShares: 0
  type: Exempt
status: {}
`)
}

func TestFlowControlTables(t *testing.T) {
	for _, c := range []struct{ resource, head, object, row string }{
		{schemas, "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL", goodSchema, "batch|workload-low|8000|ByNamespace|5m|?"},
		{
			schemas, "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
			"metadata: {name: a}\nspec: {priorityLevelConfiguration: {name: b}}\nstatus: {conditions: [{type: Dangling, status: 'True'}]}",
			"a|b|1000|<none>|<unknown>|True",
		},
		{levels, "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age", goodLevel, "batch|Limited|10|16|4|20|5m"},
		{
			levels, "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
			"metadata: {name: exempt, " + born + "}\nspec: {type: Exempt}", "exempt|Exempt|<none>|<none>|<none>|<none>|5m",
		},
		{
			levels, "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
			"metadata: {name: a, " + born + "}\nspec: {type: Limited, limited: {limitResponse: {type: Reject}}}", "a|Limited|30|<none>|<none>|<none>|5m",
		},
	} {
		k := kindNamed(t, c.resource)
		if got := headOf(k); got != c.head {
			t.Errorf("columns %s, want %s", got, c.head)
		}
		if got := cellsOf(k, c.object, t); got != c.row {
			t.Errorf("row %s, want %s", got, c.row)
		}
	}
}
