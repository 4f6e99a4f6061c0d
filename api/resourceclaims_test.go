package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	deviceClasses  = "deviceclasses.resource.k8s.io"
	claims         = "resourceclaims.resource.k8s.io"
	claimTemplates = "resourceclaimtemplates.resource.k8s.io"
	slicesOf       = "resourceslices.resource.k8s.io"
	taintRules     = "devicetaintrules.resource.k8s.io"

	goodDeviceClass = `
metadata: {name: gpu, ` + born + `}
spec:
  selectors: [{cel: {expression: 'device.driver == "gpu.example.com"'}}]
  config: [{opaque: {driver: gpu.example.com, parameters: {kind: Config, share: true}}}]
  extendedResourceName: example.com/gpu
`
	claimSpec = `
  devices:
    requests:
    - name: gpu
      exactly:
        deviceClassName: gpu
        selectors: [{cel: {expression: 'device.attributes["gpu.example.com"].model == "a" && device.allowMultipleAllocations'}}]
        count: 2
        tolerations: [{key: example.com/hot, operator: Exists, effect: NoSchedule}]
        capacity: {requests: {gpu.example.com/memory: 4Gi}}
    - name: nic
      firstAvailable:
      - {name: fast, deviceClassName: nic, allocationMode: All}
      - {name: slow, deviceClassName: nic}
    constraints: [{requests: [gpu, nic/fast], matchAttribute: example.com/numa}, {distinctAttribute: example.com/slot}]
    config: [{requests: [nic], opaque: {driver: nic.example.com, parameters: {a: b}}}]
`
	goodResourceClaim = `
metadata: {name: train, namespace: default, ` + born + `}
spec:` + claimSpec

	goodSlice = `
metadata: {name: n1-gpu, ` + born + `}
spec:
  driver: gpu.example.com
  pool: {name: n1/gpus, generation: 1, resourceSliceCount: 1}
  nodeName: n1
  devices:
  - name: gpu-0
    attributes: {model: {string: a}, example.com/numa: {int: 1}, driverVersion: {version: 1.2.3-rc.1}, ecc: {bool: true}}
    capacity:
      memory: {value: 16Gi, requestPolicy: {default: 1Gi, validRange: {min: 1Gi, max: 8Gi, step: 1Gi}}}
      cores: {value: '4', requestPolicy: {default: '1', validValues: ['1', '2', '4']}}
    allowMultipleAllocations: true
    taints: [{key: example.com/hot, value: very, effect: NoExecute, timeAdded: '2026-01-01T12:00:00Z'}]
    bindsToNode: true
    bindingConditions: [example.com/attached]
    bindingFailureConditions: [example.com/broken]
    consumesCounters: [{counterSet: pool, counters: {memory: {value: 1Gi}}}]
  - {name: gpu-1}
`
)

func TestDeviceClassValidation(t *testing.T) {
	const expression = "spec.selectors[0].cel.expression"
	runBad(t, deviceClasses, goodDeviceClass, []badObject{
		{"no selector type", []string{"{cel: {expression: 'device.driver == \"gpu.example.com\"'}}", "{}"}, []string{"spec.selectors[0].cel: Required value"}},
		{"empty expression", []string{`'device.driver == "gpu.example.com"'`, "''"}, []string{expression + `: Invalid value: "": compilation failed: ERROR: <input>:1:0: Syntax error`}},
		{"syntax", []string{"device.driver ==", "device.driver = ="}, []string{expression + `: Invalid value: "device.driver = = \"gpu.example.com\"": compilation failed: ERROR: <input>:1:15: Syntax error`}},
		{"no such field", []string{"device.driver", "device.colour"}, []string{expression + `: Invalid value: "device.colour == \"gpu.example.com\"": compilation failed: ERROR: <input>:1:7: undefined field 'colour'`}},
		{"not a truth", []string{`device.driver == "gpu.example.com"`, "device.driver"}, []string{expression + `: Invalid value: "device.driver": must evaluate to bool`}},
		{"too costly", []string{`device.driver == "gpu.example.com"`, `device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a != b || c != d))))`}, []string{expression + ": Forbidden: too complex, exceeds cost limit"}},
		{"too long", []string{`device.driver == "gpu.example.com"`, `device.driver == "` + strings.Repeat("a", resourcev1.CELSelectorExpressionMaxLength) + `"`}, []string{expression + ": Too long: may not be more than 10240 bytes"}},
		{"no configuration type", []string{"{opaque: {driver: gpu.example.com, parameters: {kind: Config, share: true}}}", "{}"}, []string{"spec.config[0].opaque: Required value"}},
		{"no driver", []string{"driver: gpu.example.com,", ""}, []string{"spec.config[0].opaque.driver: Required value"}},
		{"driver", []string{"driver: gpu.example.com,", "driver: gpu_,"}, []string{`spec.config[0].opaque.driver: Invalid value: "gpu_": an RFC 1123 subdomain`}},
		{"no parameters", []string{", parameters: {kind: Config, share: true}", ""}, []string{"spec.config[0].opaque.parameters: Required value"}},
		{"parameters that are nothing", []string{"{kind: Config, share: true}", "null"}, []string{"spec.config[0].opaque.parameters: Required value"}},
		{"list of parameters", []string{"{kind: Config, share: true}", "[1]"}, []string{`spec.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`}},
		{"long parameters", []string{"kind: Config", "kind: " + strings.Repeat("a", resourcev1.OpaqueParametersMaxLength)}, []string{"spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"}},
		{"extended resource of no domain", []string{"extendedResourceName: example.com/gpu", "extendedResourceName: gpu"}, []string{`spec.extendedResourceName: Invalid value: "gpu": a name must be a domain-prefixed path, such as 'example.com/my-prop'`}},
	})
	k := kindNamed(t, deviceClasses)
	many := load(t, deviceClasses, goodDeviceClass).(*resourcev1.DeviceClass)
	for range resourcev1.DeviceSelectorsMaxSize {
		many.Spec.Selectors = append(many.Spec.Selectors, many.Spec.Selectors[0])
		many.Spec.Config = append(many.Spec.Config, many.Spec.Config[0])
	}
	sameFaults(t, k.Validate(many), "spec.selectors: Too many: 33: must have at most 32 items", "spec.config: Too many: 33: must have at most 32 items")
	runUpdates(t, deviceClasses, goodDeviceClass, []badObject{
		{"selector", []string{"gpu.example.com\"", "other.example.com\""}, nil},
		{"selector of bad form", []string{"device.driver ==", "driver =="}, []string{expression + `: Invalid value: "driver == \"gpu.example.com\"": compilation failed: ERROR: <input>:1:1: undeclared reference to 'driver'`}},
	})
}

func TestResourceClaimValidation(t *testing.T) {
	const request, exactly, sub = "spec.devices.requests[0]", "spec.devices.requests[0].exactly", "spec.devices.requests[1].firstAvailable"
	const ref = ": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	runBad(t, claims, goodResourceClaim, []badObject{
		{"request name", []string{"- name: gpu", "- name: GPU", "[gpu, nic/fast]", "[nic/fast]"}, []string{request + `.name: Invalid value: "GPU": a lowercase RFC 1123 label`}},
		{"request twice", []string{"- name: nic", "- name: gpu", "[gpu, nic/fast]", "[gpu/fast]", "[nic]", "[gpu/slow]"}, []string{"spec.devices.requests[1]: Duplicate value"}},
		{"neither", []string{"      firstAvailable:\n      - {name: fast, deviceClassName: nic, allocationMode: All}\n      - {name: slow, deviceClassName: nic}\n", "", "nic/fast", "nic"}, []string{"spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
		{"both", []string{"firstAvailable:", "exactly: {deviceClassName: nic}\n      firstAvailable:"}, []string{"spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"}},
		{"no class", []string{"deviceClassName: gpu", "deviceClassName: ''", "slow, deviceClassName: nic", "slow"}, []string{exactly + ".deviceClassName: Required value", sub + "[1].deviceClassName: Required value"}},
		{"class", []string{"deviceClassName: gpu", "deviceClassName: g/p", "slow, deviceClassName: nic", "slow, deviceClassName: n/c"}, []string{
			exactly + `.deviceClassName: Invalid value: "g/p": a lowercase RFC 1123 subdomain`, sub + `[1].deviceClassName: Invalid value: "n/c": a lowercase RFC 1123 subdomain`,
		}},
		{"mode", []string{"allocationMode: All", "allocationMode: Some"}, []string{sub + `[0].allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"`}},
		{"count of all", []string{"allocationMode: All", "allocationMode: All, count: 1"}, []string{sub + "[0].count: Invalid value: 1: must not be specified when allocationMode is 'All'"}},
		{"negative count", []string{"count: 2", "count: -2"}, []string{exactly + ".count: Invalid value: -2: must be greater than zero"}},
		{"alternative twice", []string{"{name: slow", "{name: fast"}, []string{sub + "[1]: Duplicate value"}},
		{"alternative's name", []string{"{name: slow", "{name: Slow"}, []string{sub + `[1].name: Invalid value: "Slow": a lowercase RFC 1123 label`}},
		{"toleration key", []string{"{key: example.com/hot", "{key: '/hot'"}, []string{exactly + `.tolerations[0].key: Invalid value: "/hot": prefix part must be non-empty`}},
		{"toleration operator", []string{"operator: Exists", "operator: Near"}, []string{exactly + `.tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"`}},
		{"toleration effect", []string{"NoSchedule", "PreferNoSchedule"}, []string{exactly + `.tolerations[0].effect: Unsupported value: "PreferNoSchedule": supported values: "NoExecute", "NoSchedule", "None"`}},
		{"toleration value", []string{"operator: Exists", "operator: Exists, value: a"}, []string{exactly + ".tolerations[0].value: Invalid value: \"a\": must be empty for operator `Exists`"}},
		{"toleration equal to what", []string{"operator: Exists", "value: 'a b'"}, []string{exactly + `.tolerations[0].value: Invalid value: "a b": a valid label`}},
		{"capacity", []string{"gpu.example.com/memory: 4Gi", "/memory: -1, 1st: 1, '': 1, a.b/: 1"}, []string{
			exactly + `.capacity.requests[/memory]: Required value: the domain must not be empty`,
			exactly + `.capacity.requests[/memory]: Invalid value: "-1": must be greater than or equal to zero`,
			exactly + `.capacity.requests[1st]: Invalid value: "1st": a valid C identifier`,
			exactly + `.capacity.requests[]: Required value: name required`,
			exactly + `.capacity.requests[a.b/]: Required value: the name must not be empty`,
		}},
		{"unknown request", []string{"[gpu, nic/fast]", "[gpus, nic/best, gpu/fast, a/b/c]"}, []string{
			`spec.devices.constraints[0].requests[0]: Invalid value: "gpus"` + ref, `spec.devices.constraints[0].requests[1]: Invalid value: "nic/best"` + ref,
			`spec.devices.constraints[0].requests[2]: Invalid value: "gpu/fast"` + ref, `spec.devices.constraints[0].requests[3]: Invalid value: "a/b/c"` + ref,
		}},
		{"request named twice", []string{"[gpu, nic/fast]", "[gpu, gpu]"}, []string{`spec.devices.constraints[0].requests[1]: Duplicate value: "gpu"`}},
		{"no constraint", []string{", matchAttribute: example.com/numa", ""}, []string{"spec.devices.constraints[0]: Required value: exactly one of `matchAttribute` or `distinctAttribute` is required"}},
		{"two constraints", []string{"{distinctAttribute", "{matchAttribute: a.b/c, distinctAttribute"}, []string{"spec.devices.constraints[1]: Invalid value: null: exactly one of"}},
		{"attribute of no domain", []string{"example.com/numa", "numa"}, []string{`spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`}},
		{"configuration of nothing", []string{"[nic]", "[nick]"}, []string{`spec.devices.config[0].requests[0]: Invalid value: "nick"` + ref}},
		{"expression", []string{"device.attributes[", "device.attribute["}, []string{exactly + ".selectors[0].cel.expression: Invalid value"}},
	})
	runUpdates(t, claims, goodResourceClaim, []badObject{
		{"spec", []string{"count: 2", "count: 3"}, []string{"spec: Invalid value: null: field is immutable"}},
		{"metadata", []string{"namespace: default", "namespace: default, labels: {a: b}"}, nil},
	})
	many := load(t, claims, goodResourceClaim).(*resourcev1.ResourceClaim)
	many.Spec.Devices.Config, many.Spec.Devices.Constraints = nil, nil
	for i := range resourcev1.DeviceRequestsMaxSize {
		r := many.Spec.Devices.Requests[0].DeepCopy()
		r.Name = fmt.Sprint("r", i)
		many.Spec.Devices.Requests = append(many.Spec.Devices.Requests, *r)
	}
	tolerations := &many.Spec.Devices.Requests[0].Exactly.Tolerations
	for range resourcev1.DeviceTolerationsMaxLength {
		*tolerations = append(*tolerations, (*tolerations)[0])
	}
	sameFaults(t, kindNamed(t, claims).Validate(many),
		"spec.devices.requests: Too many: 34: must have at most 32 items", exactly+".tolerations: Too many: 17: must have at most 16 items")
}

// allocated is a status that fits goodResourceClaim.
const allocated = `
status:
  allocation:
    devices:
      results:
      - {request: gpu, driver: gpu.example.com, pool: n1, device: gpu-0, bindingConditions: [a], bindingFailureConditions: [b]}
      - {request: nic/fast, driver: nic.example.com, pool: n1, device: eth-0, shareID: 0e7ed3ea-6ff7-4d4c-b7cb-3a4b9b4d6a3e}
      config: [{source: FromClaim, requests: [nic], opaque: {driver: nic.example.com, parameters: {a: b}}}]
    nodeSelector: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}
  reservedFor: [{resource: pods, name: web, uid: u1}]
  devices:
  - driver: gpu.example.com
    pool: n1
    device: gpu-0
    conditions: [{type: Ready, status: 'True', reason: Fine, lastTransitionTime: '2026-01-01T12:00:00Z'}]
    data: {temperature: 40}
    networkData: {interfaceName: eth0, ips: [192.0.2.5/24], hardwareAddress: 'ea:9f:cb:40:b2:7c'}
`

func TestResourceClaimStatus(t *testing.T) {
	k := kindNamed(t, claims)
	const result, device = "status.allocation.devices.results[0]", "status.devices[0]"
	for _, c := range []badObject{
		{"good", nil, nil},
		{"request", []string{"{request: gpu", "{request: tpu"}, []string{result + `.request: Invalid value: "tpu": must be the name of a request in the claim`}},
		{"driver", []string{"{request: gpu, driver: gpu.example.com", "{request: gpu"}, []string{result + ".driver: Required value", device + `: Invalid value: "gpu.example.com/n1/gpu-0": must be an allocated device in the claim`}},
		{"pool and device", []string{"pool: n1, device: eth-0", "pool: n_1, device: Eth"}, []string{
			`status.allocation.devices.results[1].pool: Invalid value: "n_1": segment 0: a lowercase RFC 1123 subdomain`,
			`status.allocation.devices.results[1].device: Invalid value: "Eth": a lowercase RFC 1123 label`,
		}},
		{"share", []string{"0e7ed3ea-6ff7-4d4c-b7cb-3a4b9b4d6a3e", "one"}, []string{`status.allocation.devices.results[1].shareID: Invalid value: "one": must be a lowercase UUID in 8-4-4-4-12 format`}},
		{"binding", []string{"bindingConditions: [a], bindingFailureConditions: [b]", "bindingConditions: [a, a], bindingFailureConditions: [a, '/']"}, []string{
			result + `.bindingConditions[1]: Duplicate value: "a"`,
			result + `.bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions`,
			result + `.bindingFailureConditions[1]: Invalid value: "/": prefix part must be non-empty`,
			result + `.bindingFailureConditions[1]: Invalid value: "/": name part must be non-empty`,
			result + `.bindingFailureConditions[1]: Invalid value: "/": name part must consist of alphanumeric characters`,
		}},
		{"half of binding", []string{"bindingConditions: [a], ", ""}, []string{result + ".bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions"}},
		{"other half of binding", []string{", bindingFailureConditions: [b]", ""}, []string{result + ".bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"}},
		{"source", []string{"FromClaim", "FromMars"}, []string{`status.allocation.devices.config[0].source: Unsupported value: "FromMars": supported values: "FromClaim", "FromClass"`}},
		{"selector", []string{"nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]", ""}, []string{"status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"}},
		{"nobody", []string{"{resource: pods, name: web, uid: u1}", "{}"}, []string{"status.reservedFor[0].resource: Required value", "status.reservedFor[0].name: Required value", "status.reservedFor[0].uid: Required value"}},
		{"reserved twice", []string{"uid: u1}", "uid: u1}, {resource: pods, name: db, uid: u1}"}, []string{"status.reservedFor[1]: Duplicate value"}},
		{"status of a stranger", []string{"    device: gpu-0", "    device: gpu-1"}, []string{device + `: Invalid value: "gpu.example.com/n1/gpu-1": must be an allocated device in the claim`}},
		{"condition", []string{"status: 'True'", "status: Yes please"}, []string{device + `.conditions[0].status: Unsupported value: "Yes please"`}},
		{"data", []string{"{temperature: 40}", "40"}, []string{device + `.data: Invalid value: "<value omitted>": must be a valid JSON object`}},
		{"address", []string{"[192.0.2.5/24]", "[192.0.2.5, 192.0.2.5]"}, []string{
			device + `.networkData.ips[0]: Invalid value: "192.0.2.5": must be a valid address in CIDR form`,
			device + `.networkData.ips[1]: Invalid value: "192.0.2.5": must be a valid address in CIDR form`,
			device + `.networkData.ips[1]: Duplicate value: "192.0.2.5"`,
		}},
		{"interface", []string{"eth0", strings.Repeat("e", 257)}, []string{device + ".networkData.interfaceName: Too long: may not be more than 256 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, k.ValidateStatusUpdate(load(t, claims, goodResourceClaim+edit(t, allocated, c.edits...)), load(t, claims, goodResourceClaim)), c.want...)
		})
	}
}

func TestResourceClaimStatusChanges(t *testing.T) {
	k := kindNamed(t, claims)
	claim := func(text string) *resourcev1.ResourceClaim {
		return load(t, claims, goodResourceClaim+text).(*resourcev1.ResourceClaim)
	}
	sameFaults(t, k.ValidateStatusUpdate(claim(allocated), claim(allocated)))
	sameFaults(t, k.ValidateStatusUpdate(claim(edit(t, allocated, "device: gpu-0, ", "device: gpu-7, ", "    device: gpu-0", "    device: gpu-7")), claim(allocated)),
		"status.allocation: Invalid value: null: field cannot be modified once set")
	sameFaults(t, k.ValidateStatusUpdate(claim(""), claim(allocated)))
	sameFaults(t, k.ValidateStatusUpdate(claim("status: {reservedFor: [{resource: pods, name: web, uid: u1}]}"), claim("")),
		"status.reservedFor: Forbidden: may not be specified when `allocated` is not set")

	dying := claim(edit(t, allocated, "uid: u1}", "uid: u1}, {resource: pods, name: db, uid: u2}"))
	dying.DeletionTimestamp = &metav1.Time{Time: noon}
	sameFaults(t, k.ValidateStatusUpdate(dying, claim(allocated)),
		"status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
	dying.Status.ReservedFor = dying.Status.ReservedFor[:1]
	sameFaults(t, k.ValidateStatusUpdate(dying, claim(allocated)))

	released := claim(allocated)
	released.Status.Allocation = nil
	k.PrepareForStatusUpdate(released, claim(allocated))
	if released.Status.Devices != nil {
		t.Errorf("a released device kept its status: %v", released.Status.Devices)
	}
	kept := claim(allocated)
	kept.Status.Allocation.Devices.Results = kept.Status.Allocation.Devices.Results[:1]
	k.PrepareForStatusUpdate(kept, claim(allocated))
	if len(kept.Status.Devices) != 1 {
		t.Error("a device that stayed lost its status")
	}
}

func TestResourceClaimTemplateValidation(t *testing.T) {
	good := "metadata: {name: train, namespace: default, " + born + "}\nspec:\n  metadata: {labels: {a: b}, annotations: {c: d}}\n  spec:" +
		strings.ReplaceAll(claimSpec, "\n", "\n  ")
	runBad(t, claimTemplates, good, []badObject{
		{"other metadata", []string{"{labels: {a: b}", "{name: x, finalizers: [a.b/c], labels: {a: 'b c'}"}, []string{
			"spec.metadata.name: Forbidden: cannot be set", "spec.metadata.finalizers: Forbidden: cannot be set", `spec.metadata.labels: Invalid value: "b c"`,
		}},
		{"request", []string{"deviceClassName: gpu", "deviceClassName: ''"}, []string{"spec.spec.devices.requests[0].exactly.deviceClassName: Required value"}},
		{"mode", []string{"allocationMode: All", "allocationMode: Some"}, []string{`spec.spec.devices.requests[1].firstAvailable[0].allocationMode: Unsupported value: "Some"`}},
	})
	runUpdates(t, claimTemplates, good, []badObject{
		{"spec", []string{"count: 2", "count: 3"}, []string{"spec: Invalid value"}},
		{"labels of the template", []string{"namespace: default", "namespace: default, labels: {a: b}"}, nil},
	})
}

// Fields of features that are off by default vanish, as they do in Kubernetes.
func TestAlphaDeviceFieldsAreDropped(t *testing.T) {
	slice := load(t, slicesOf, edit(t, goodSlice, "{name: gpu-1}",
		"{name: gpu-1, attributes: {a: {ints: [1]}}, nodeAllocatableResources: {cpu: {mapping: {deviceMultiplier: '1'}}}, consumesCounters: [{counterSet: pool, counters: {a: {value: 1}}, compatibilityGroups: [g]}]}",
		"nodeName: n1", "nodeName: n1\n  partitionTypeAttribute: a.b/c\n  skipNodeOperations: ['*']")).(*resourcev1.ResourceSlice)
	kindNamed(t, slicesOf).PrepareForCreate(slice)
	d := slice.Spec.Devices[1]
	if slice.Spec.PartitionTypeAttribute != nil || slice.Spec.SkipNodeOperations != nil || d.NodeAllocatableResources != nil || d.ConsumesCounters[0].CompatibilityGroups != nil {
		t.Errorf("alpha fields stayed: %v", slice)
	}
	sameFaults(t, kindNamed(t, slicesOf).Validate(slice), "spec.devices[1].attributes[a]: Invalid value: \"\": must specify one of")

	derived := "derivedAttributes: [{name: a.b/c, expression: 'true'}]"
	claim := load(t, claims, edit(t, goodResourceClaim, "count: 2", "count: 2\n        "+derived, "{name: slow", "{"+derived+", name: slow")).(*resourcev1.ResourceClaim)
	kindNamed(t, claims).PrepareForCreate(claim)
	if !equality.Semantic.DeepEqual(claim, load(t, claims, goodResourceClaim)) {
		t.Errorf("alpha fields stayed: %v", claim)
	}
	status := load(t, claims, goodResourceClaim+edit(t, allocated, "device: gpu-0, ", "device: gpu-0, skipNodeOperations: ['*'], "))
	kindNamed(t, claims).PrepareForStatusUpdate(status, claim)
	if !equality.Semantic.DeepEqual(status, load(t, claims, goodResourceClaim+allocated)) {
		t.Errorf("alpha fields stayed: %v", status)
	}
}

const goodTaintRule = `
metadata: {name: hot, ` + born + `}
spec:
  deviceSelector: {driver: gpu.example.com, pool: n1, device: gpu-0}
  taint: {key: example.com/hot, value: very, effect: NoSchedule, timeAdded: '2026-01-01T12:00:00Z'}
`

func TestDeviceTaintRuleValidation(t *testing.T) {
	runBad(t, taintRules, goodTaintRule, []badObject{
		{"selector", []string{"{driver: gpu.example.com, pool: n1, device: gpu-0}", "{driver: '', pool: '', device: ''}"}, []string{
			"spec.deviceSelector.driver: Required value", "spec.deviceSelector.pool: Required value", `spec.deviceSelector.device: Invalid value: "": a lowercase RFC 1123 label`,
		}},
		{"no effect", []string{"effect: NoSchedule", "effect: ''"}, []string{"spec.taint.effect: Required value"}},
		{"effect", []string{"NoSchedule", "Melt"}, []string{`spec.taint.effect: Unsupported value: "Melt"`}},
		{"every device", []string{"{driver: gpu.example.com, pool: n1, device: gpu-0}", "{}"}, nil},
	})
	k := kindNamed(t, taintRules)
	sameFaults(t, k.ValidateStatusUpdate(load(t, taintRules, goodTaintRule+"status: {conditions: [{type: EvictionInProgress}]}"), k.New()),
		"status.conditions[0].status: Required value", "status.conditions[0].reason: Required value", "status.conditions[0].lastTransitionTime: Required value")
}

// A taint counts from when it came or became another one, unless the user says from when.
func TestTaintsAreStamped(t *testing.T) {
	k := kindNamed(t, taintRules)
	rule := func(edits ...string) *resourcev1.DeviceTaintRule {
		return load(t, taintRules, edit(t, goodTaintRule, edits...)).(*resourcev1.DeviceTaintRule)
	}
	said, old := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), rule()
	for _, c := range []struct {
		name  string
		edits []string
		want  func(time.Time) bool
	}{
		{"nothing changed", nil, said.Equal},
		{"another value", []string{"very", "little"}, said.Equal},
		{"another effect", []string{"NoSchedule", "NoExecute"}, said.Before},
		{"another effect and time", []string{"NoSchedule", "NoExecute", "timeAdded: '2026", "timeAdded: '2025"}, said.After},
		{"no time", []string{", timeAdded: '2026-01-01T12:00:00Z'", ""}, said.Before},
	} {
		r := rule(c.edits...)
		k.PrepareForUpdate(r, old)
		if !c.want(r.Spec.Taint.TimeAdded.Time) {
			t.Errorf("%s: %v", c.name, r.Spec.Taint.TimeAdded)
		}
	}
	made := rule(", timeAdded: '2026-01-01T12:00:00Z'", "")
	k.PrepareForCreate(made)
	if made.Spec.Taint.TimeAdded.IsZero() {
		t.Error("a new taint has no time")
	}
	slice := load(t, slicesOf, edit(t, goodSlice, ", timeAdded: '2026-01-01T12:00:00Z'", "")).(*resourcev1.ResourceSlice)
	kindNamed(t, slicesOf).PrepareForCreate(slice)
	if slice.Spec.Devices[0].Taints[0].TimeAdded.IsZero() {
		t.Error("a new taint of a device has no time")
	}
}

func TestResourceClaimDefaults(t *testing.T) {
	sameYAML(t, load(t, claims, `
metadata: {name: train}
spec:
  devices:
    requests:
    - {name: a, exactly: {deviceClassName: gpu, tolerations: [{key: b}]}}
    - {name: b, firstAvailable: [{name: x, deviceClassName: gpu}, {name: z, deviceClassName: gpu, allocationMode: All}]}
`), `
metadata:
  name: train
spec:
  devices:
    requests:
    - exactly:
        allocationMode: ExactCount
        count: 1
        deviceClassName: gpu
        tolerations:
        - key: b
          operator: Equal
      name: a
    - firstAvailable:
      - allocationMode: ExactCount
        count: 1
        deviceClassName: gpu
        name: x
      - allocationMode: All
        deviceClassName: gpu
        name: z
      name: b
status: {}
`)
	sameYAML(t, load(t, claimTemplates, "metadata: {name: t}\nspec: {spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}}"), `
metadata:
  name: t
spec:
  metadata: {}
  spec:
    devices:
      requests:
      - exactly:
          allocationMode: ExactCount
          count: 1
          deviceClassName: gpu
        name: a
`)
	sameYAML(t, load(t, deviceClasses, "metadata: {name: gpu}\nspec: {}"), "metadata:\n  name: gpu\nspec: {}")
	sameYAML(t, load(t, slicesOf, "metadata: {name: s}\nspec: {driver: a.b, pool: {name: p, resourceSliceCount: 1}, allNodes: true}"), `
metadata:
  name: s
spec:
  allNodes: true
  driver: a.b
  pool:
    generation: 0
    name: p
    resourceSliceCount: 1
`)
}

func TestResourceTables(t *testing.T) {
	for _, c := range []struct{ resource, head, object, row string }{
		{deviceClasses, "Name|Age", goodDeviceClass, "gpu|5m"},
		{claims, "Name|State|Age", goodResourceClaim, "train|pending|5m"},
		{claims, "Name|State|Age", goodResourceClaim + allocated, "train|allocated,reserved|5m"},
		{claims, "Name|State|Age", goodResourceClaim + "status: {allocation: {}}", "train|allocated|5m"},
		{claims, "Name|State|Age", edit(t, goodResourceClaim, "name: train,", "name: train, deletionTimestamp: '2026-01-01T12:04:00Z',"), "train|deleted|5m"},
		{claims, "Name|State|Age", edit(t, goodResourceClaim+allocated, "name: train,", "name: train, deletionTimestamp: '2026-01-01T12:04:00Z',"), "train|deleted,allocated,reserved|5m"},
		{claimTemplates, "Name|Age", "metadata: {name: t, " + born + "}", "t|5m"},
		{slicesOf, "Name|Node|Driver|Pool|Age", goodSlice, "n1-gpu|n1|gpu.example.com|n1/gpus|5m"},
		{slicesOf, "Name|Node|Driver|Pool|Age", edit(t, goodSlice, "nodeName: n1", "allNodes: true"), "n1-gpu||gpu.example.com|n1/gpus|5m"},
		{taintRules, "Name|Age", goodTaintRule, "hot|5m"},
	} {
		k := kindNamed(t, c.resource)
		if got := headOf(k); got != c.head {
			t.Errorf("%s: columns %s, want %s", c.resource, got, c.head)
		}
		if got := cellsOf(k, c.object, t); got != c.row {
			t.Errorf("%s: row %s, want %s", c.resource, got, c.row)
		}
	}
}

func TestAdminAccess(t *testing.T) {
	admin := edit(t, goodResourceClaim, "count: 2", "count: 2\n        adminAccess: true")
	given := goodResourceClaim + edit(t, allocated, "device: gpu-0, ", "device: gpu-0, adminAccess: true, ")
	template := "metadata: {name: t}\nspec: {spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu, adminAccess: true}}]}}}"
	allowed := map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}
	for _, c := range []struct {
		name    string
		obj     runtime.Object
		refused bool
	}{
		{"ordinary claim", load(t, claims, goodResourceClaim), false},
		{"claim", load(t, claims, admin), true},
		{"allocation", load(t, claims, given), true},
		{"template", load(t, claimTemplates, template), true},
		{"another kind", load(t, slicesOf, goodSlice), false},
	} {
		err := CheckAdminAccess(c.obj, map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "True"})
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && err.Detail != "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace" {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := CheckAdminAccess(c.obj, allowed); err != nil {
			t.Errorf("%s in a namespace of administrators: %v", c.name, err)
		}
	}
}
