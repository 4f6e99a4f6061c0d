package api

import "testing"

func TestLimitTables(t *testing.T) {
	for resource, c := range map[string]struct{ head, object, row string }{
		"limitranges": {"Name|Created At", "metadata: {name: l, " + born + "}", "l|2026-01-01T12:00:00Z"},
		"resourcequotas": {
			"Name|Request|Limit|Age",
			"metadata: {name: q, " + born + "}\nstatus: {hard: {requests.cpu: 2, limits.cpu: 4, limits.memory: 1Gi, pods: 9, count/jobs.batch: 3}, used: {requests.cpu: 500m, limits.cpu: 1, pods: 2}}",
			"q|count/jobs.batch: 0/3, pods: 2/9, requests.cpu: 500m/2|limits.cpu: 1/4, limits.memory: 0/1Gi|5m",
		},
	} {
		t.Run(resource, func(t *testing.T) { sameTable(t, resource, c.head, c.object, c.row) })
	}
}

func TestLimitRangeDefaults(t *testing.T) {
	r := load(t, "limitranges", `
metadata: {uid: 1f5d}
spec:
  limits:
  - type: Container
    max: {cpu: 2, memory: 1Gi}
    min: {cpu: 100m, ephemeral-storage: 1Gi}
    default: {cpu: 500.5m}
  - type: Pod
    max: {cpu: 4}
`)
	kindNamed(t, "limitranges").PrepareForCreate(r)
	sameYAML(t, r, `
metadata:
  name: 1f5d
  uid: 1f5d
spec:
  limits:
  - default:
      cpu: 501m
      memory: 1Gi
    defaultRequest:
      cpu: 501m
      ephemeral-storage: 1Gi
      memory: 1Gi
    max:
      cpu: "2"
      memory: 1Gi
    min:
      cpu: 100m
      ephemeral-storage: 1Gi
    type: Container
  - max:
      cpu: "4"
    type: Pod
`)
}

const goodLimitRange = `
metadata: {name: l, namespace: default}
spec:
  limits:
  - {type: Container, min: {cpu: 100m}, max: {cpu: 300m}, default: {cpu: 200m}, defaultRequest: {cpu: 150m}, maxLimitRequestRatio: {cpu: 3}}
  - {type: Pod, max: {memory: 1Gi}}
  - {type: PersistentVolumeClaim, min: {storage: 1Gi}}
  - {type: example.com/thing, max: {example.com/gpu: 1}}
`

func TestLimitRangeValidation(t *testing.T) {
	const c = "spec.limits[0]"
	runBad(t, "limitranges", goodLimitRange, []badObject{
		{"type", []string{"type: Pod", "type: Thing"}, []string{`spec.limits[1].type: Invalid value: "Thing": must be a standard limit type or fully qualified`}},
		{"no type", []string{"type: Pod, ", ""}, []string{
			"spec.limits[1].type: Invalid value: \"\": name part must be non-empty", "spec.limits[1].type: Invalid value: \"\": name part must consist of"}},
		{"type twice", []string{"type: Pod,", "type: Container,"}, []string{`spec.limits[1].type: Duplicate value: "Container"`}},
		{"resource of container", []string{"max: {memory: 1Gi}", "max: {storage: 1Gi}"}, []string{
			`spec.limits[1].max[storage]: Invalid value: "storage": must be a standard resource for containers`}},
		{"resource of claim", []string{"min: {storage: 1Gi}", "min: {storage: 1Gi, gold: 1}"}, []string{
			`spec.limits[2].min[gold]: Invalid value: "gold": must be a standard resource type or fully qualified`}},
		{"defaults of pod", []string{"max: {memory: 1Gi}", "max: {memory: 1Gi}, default: {cpu: 9}, defaultRequest: {cpu: 10}"}, []string{
			"spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
			"spec.limits[1].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'"}},
		{"claim without storage", []string{"{storage: 1Gi}", "{cpu: 1}"}, []string{
			"spec.limits[2].limits: Required value: either minimum or maximum storage value is required, but neither was provided"}},
		{"min above all", []string{"min: {cpu: 100m}", "min: {cpu: 1}"}, []string{
			c + `.min[cpu]: Invalid value: "1": min value 1 is greater than max value 300m`,
			c + `.defaultRequest[cpu]: Invalid value: "150m": min value 1 is greater than default request value 150m`,
			c + `.default[cpu]: Invalid value: "1": min value 1 is greater than default value 200m`,
			c + `.maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 0.300000`}},
		{"max below defaults", []string{"max: {cpu: 300m}", "max: {cpu: 120m}", "cpu: 3}", "cpu: 1}"}, []string{
			c + `.defaultRequest[cpu]: Invalid value: "150m": default request value 150m is greater than max value 120m`,
			c + `.default[cpu]: Invalid value: "120m": default value 200m is greater than max value 120m`}},
		{"request above default", []string{"defaultRequest: {cpu: 150m}", "defaultRequest: {cpu: 250m}"}, []string{
			c + `.defaultRequest[cpu]: Invalid value: "250m": default request value 250m is greater than default limit value 200m`}},
		{"ratio below one", []string{"maxLimitRequestRatio: {cpu: 3}", "maxLimitRequestRatio: {cpu: 500m}"}, []string{
			c + `.maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1`}},
		{"ratio above room", []string{"maxLimitRequestRatio: {cpu: 3}", "maxLimitRequestRatio: {cpu: 3.5}"}, []string{
			c + `.maxLimitRequestRatio[cpu]: Invalid value: "3500m": ratio 3500m is greater than max/min = 3.000000`}},
		{"huge ratio", []string{"max: {memory: 1Gi}", "min: {memory: 4Ei}, max: {memory: 6Ei}, maxLimitRequestRatio: {memory: 2}"}, []string{
			`spec.limits[1].maxLimitRequestRatio[memory]: Invalid value: "2": ratio 2 is greater than max/min = 1.500000`}},
		{"no overcommitment", []string{"max: {example.com/gpu: 1}", "default: {example.com/gpu: 2}, defaultRequest: {example.com/gpu: 1}"}, []string{
			`spec.limits[3].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu`}},
	})
	runUpdates(t, "limitranges", goodLimitRange, []badObject{
		{"all may change", []string{"max: {memory: 1Gi}", "max: {memory: 2Gi}"}, nil},
		{"but stays valid", []string{"min: {storage: 1Gi}", "max: {cpu: 1}"}, []string{"spec.limits[2].limits: Required value"}},
	})
}

const goodQuota = `
metadata: {name: q, namespace: default}
spec:
  hard: {cpu: 4, limits.memory: 8Gi, pods: 10}
  scopes: [NotBestEffort]
  scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}
`

func TestResourceQuotaValidation(t *testing.T) {
	const at = "spec.scopeSelector.matchExpressions"
	const notExist = `must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity`
	runBad(t, "resourcequotas", goodQuota, []badObject{
		{"counts", []string{"pods: 10", "pods: 10, count/jobs.batch: 3, requests.nvidia.com/gpu: 2"}, nil},
		{"unknown", []string{"pods: 10", "gold: 10"}, []string{
			`spec.hard[gold]: Invalid value: "gold": must be a standard resource type or fully qualified`,
			`spec.hard[gold]: Invalid value: "gold": must be a standard resource for quota`}},
		{"storage without requests", []string{"pods: 10", "storage: 10"}, []string{`spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota`}},
		{"negative", []string{"cpu: 4", "cpu: -4"}, []string{`spec.hard[cpu]: Invalid value: "-4": must be greater than or equal to 0`}},
		{"half a pod", []string{"pods: 10", "pods: 500m"}, []string{`spec.hard[pods]: Invalid value: "500m": must be an integer`}},
		{"half an object", []string{"pods: 10", "pods: 1, count/jobs.batch: 1500m"}, []string{`spec.hard[count/jobs.batch]: Invalid value: "1500m": must be an integer`}},
		{"unknown scope", []string{"[NotBestEffort]", "[Best]"}, []string{`spec.scopes: Invalid value: ["Best"]: unsupported scope`}},
		{"best effort has no cpu", []string{"[NotBestEffort]", "[BestEffort]"}, []string{
			`spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`,
			`spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`}},
		{"services are not terminating", []string{"[NotBestEffort]", "[Terminating]", "pods: 10", "services: 10"}, []string{
			`spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource`,
			at + `: Invalid value: {"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}: unsupported scope applied to resource`}},
		{"conflict", []string{"[NotBestEffort]", "[Terminating, NotTerminating]"}, []string{
			`spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes`}},
		{"selected scope", []string{"PriorityClass", "Class"}, []string{at + `.scopeName: Invalid value: "Class": unsupported scope`}},
		{"no values", []string{", values: [high]", ""}, []string{at + ".values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"}},
		{"values of existence", []string{"operator: In", "operator: Exists"}, []string{
			at + ".values: Invalid value: [\"high\"]: must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"}},
		{"operator", []string{"operator: In", "operator: Is"}, []string{at + `.operator: Invalid value: "Is": not a valid selector operator`}},
		{"yes or no", []string{"PriorityClass", "Terminating"}, []string{at + `.operator: Invalid value: "In": ` + notExist}},
		{"selected conflict", []string{"{scopeName: PriorityClass, operator: In, values: [high]}", "{scopeName: Terminating, operator: Exists}, {scopeName: NotTerminating, operator: Exists}"},
			[]string{at + `: Invalid value: ["NotBestEffort"]: conflicting scopes`}},
	})
	runBad(t, "resourcequotas", edit(t, goodQuota, "{cpu: 4, limits.memory: 8Gi, pods: 10}", "{persistentvolumeclaims: 3, requests.storage: 1Ti}",
		"PriorityClass", "VolumeAttributesClass", "  scopes: [NotBestEffort]\n", ""), nil)
	runUpdates(t, "resourcequotas", goodQuota, []badObject{
		{"more", []string{"pods: 10", "pods: 11"}, nil},
		{"scope", []string{"[NotBestEffort]", "[Terminating]"}, []string{`spec.scopes: Invalid value: ["Terminating"]: field is immutable`}},
	})
}

func TestResourceQuotaStatus(t *testing.T) {
	k := kindNamed(t, "resourcequotas")
	obj := load(t, "resourcequotas", goodQuota+"status: {hard: {pods: 1, gold: 2}, used: {cpu: -1}}")
	sameFaults(t, k.ValidateStatusUpdate(obj, load(t, "resourcequotas", goodQuota)),
		`status.hard[gold]: Invalid value: "gold": must be a standard resource type or fully qualified`,
		`status.hard[gold]: Invalid value: "gold": must be a standard resource for quota`,
		`status.used[cpu]: Invalid value: "-1": must be greater than or equal to 0`)
}

func TestResourceQuotaDefaults(t *testing.T) {
	sameYAML(t, load(t, "resourcequotas", "spec: {hard: {cpu: 1.5m}}\nstatus: {hard: {cpu: 1.5m}, used: {cpu: 0.1m}}"), `
metadata: {}
spec:
  hard:
    cpu: 2m
status:
  hard:
    cpu: 2m
  used:
    cpu: 1m
`)
}
