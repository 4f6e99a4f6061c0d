package api

import (
	"fmt"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
)

func TestResourceSliceValidation(t *testing.T) {
	const device = "spec.devices[0]"
	runBad(t, slicesOf, goodSlice, []badObject{
		{"no driver", []string{"driver: gpu.example.com", "driver: ''"}, []string{"spec.driver: Required value"}},
		{"driver", []string{"driver: gpu.example.com", "driver: " + strings.Repeat("a", 64)}, []string{"spec.driver: Too long: may not be more than 63 bytes"}},
		{"pool", []string{"{name: n1/gpus, generation: 1, resourceSliceCount: 1}", "{name: n1//G, generation: -1}"}, []string{
			`spec.pool.name: Invalid value: "": a lowercase RFC 1123 subdomain`, `spec.pool.name: Invalid value: "G": a lowercase RFC 1123 subdomain`,
			"spec.pool.generation: Invalid value: -1: must be greater than or equal to zero", "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
		}},
		{"long pool", []string{"n1/gpus", "n1/" + strings.Repeat("a.", 126) + "a"}, []string{"spec.pool.name: Too long: may not be more than 253 bytes"}},
		{"nowhere", []string{"nodeName: n1", ""}, []string{"spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"}},
		{"twice somewhere", []string{"nodeName: n1", "nodeName: n1\n  allNodes: true"}, []string{"spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"}},
		{"not everywhere", []string{"nodeName: n1", "nodeName: n1\n  allNodes: false"}, []string{"spec.allNodes: Invalid value: false: must be either unset or set to true"}},
		{"node", []string{"nodeName: n1", "nodeName: N/1"}, []string{`spec.nodeName: Invalid value: "N/1": a lowercase RFC 1123 subdomain`}},
		{"nameless node", []string{"nodeName: n1", "nodeName: ''"}, []string{`spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string`, "spec: Required value: exactly one of"}},
		{"selector", []string{"nodeName: n1", "nodeSelector: {nodeSelectorTerms: []}"}, []string{
			"spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
			"spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
		}},
		{"device names", []string{"name: gpu-1", "name: gpu-0", "- name: gpu-0", "- name: GPU"}, []string{device + `.name: Invalid value: "GPU": a lowercase RFC 1123 label`}},
		{"device twice", []string{"name: gpu-1", "name: gpu-0"}, []string{`spec.devices[1].name: Duplicate value: "gpu-0"`}},
		{"device's own node", []string{"{name: gpu-1}", "{name: gpu-1, allNodes: true}"}, []string{"spec.devices[1].allNodes: Forbidden: may only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"}},
		{"devices without nodes", []string{"nodeName: n1", "perDeviceNodeSelection: true", "{name: gpu-1}", "{name: gpu-1, nodeName: n2}"}, []string{device + ": Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"}},
		{"attribute name", []string{"{model: ", "{0model: "}, []string{device + `.attributes[0model]: Invalid value: "0model": a valid C identifier`}},
		{"attribute of nothing", []string{"{string: a}", "{}"}, []string{device + ".attributes[model]: Invalid value: \"\": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"}},
		{"attribute of two", []string{"{string: a}", "{string: a, int: 1}"}, []string{device + ".attributes[model]: Invalid value: \"{int, string}\": must specify exactly one of: `int`, `bool`"}},
		{"attribute too long", []string{"{string: a}", "{string: " + strings.Repeat("a", 65) + "}"}, []string{device + ".attributes[model].string: Too long: may not be more than 64 bytes"}},
		{"version", []string{"1.2.3-rc.1", "v1.2"}, []string{device + `.attributes[driverVersion].version: Invalid value: "v1.2": must be a string compatible with semver.org spec 2.0.0`}},
		{"taint", []string{"{key: example.com/hot, value: very, effect: NoExecute", "{key: '', value: 'v v', effect: Melt"}, []string{
			device + `.taints[0].key: Invalid value: "": name part must be non-empty`, device + `.taints[0].key: Invalid value: "": name part must consist of`,
			device + `.taints[0].value: Invalid value: "v v": a valid label`, device + `.taints[0].effect: Unsupported value: "Melt": supported values: "NoExecute", "NoSchedule", "None"`,
		}},
		{"counter set", []string{"counterSet: pool, counters: {memory: {value: 1Gi}}", "counterSet: Pool"}, []string{
			device + `.consumesCounters[0].counterSet: Invalid value: "Pool": a lowercase RFC 1123 label`, device + ".consumesCounters[0].counters: Required value",
		}},
		{"counter sets beside devices", []string{"  devices:", "  sharedCounters: [{name: pool, counters: {memory: {value: 1Gi}}}]\n  devices:"}, []string{"spec: Invalid value: \"{`sharedCounters`, `devices`}\": only one of `sharedCounters` or `devices` is allowed"}},
	})
	runUpdates(t, slicesOf, goodSlice, []badObject{
		{"devices", []string{"generation: 1", "generation: 2", "\n  - {name: gpu-1}", ""}, nil},
		{"identity", []string{"driver: gpu.example.com", "driver: tpu.example.com", "n1/gpus", "n1/tpus", "nodeName: n1", "nodeName: n2"}, []string{
			`spec.driver: Invalid value: "tpu.example.com": field is immutable`, `spec.pool.name: Invalid value: "n1/tpus": field is immutable`, `spec.nodeName: Invalid value: "n2": field is immutable`,
		}},
	})
}

func TestRequestPolicyValidation(t *testing.T) {
	const memory, cores = "spec.devices[0].capacity[memory].requestPolicy", "spec.devices[0].capacity[cores].requestPolicy"
	runBad(t, slicesOf, goodSlice, []badObject{
		{"of a device that is not shared", []string{"allowMultipleAllocations: true", ""}, []string{memory + ": Forbidden: allowMultipleAllocations must be true", cores + ": Forbidden: allowMultipleAllocations must be true"}},
		{"two", []string{"default: 1Gi,", "default: 1Gi, validValues: [1Gi],"}, []string{memory + ": Forbidden: exactly one policy can be specified"}},
		{"no default", []string{"default: 1Gi,", "", "default: '1',", ""}, []string{memory + ".default: Required value", cores + ".default: Required value"}},
		{"default above all", []string{"validRange: {min: 1Gi, max: 8Gi, step: 1Gi}", "", "default: 1Gi,", "default: 32Gi"}, []string{memory + `.default: Invalid value: "32Gi": must not be larger than capacity value: 16Gi`}},
		{"values", []string{"['1', '2', '4']", "['2', '8', '8', '3']"}, []string{
			cores + `.validValues[1]: Invalid value: "8": must not be larger than capacity value: 4`, cores + `.validValues[2]: Invalid value: "8": must not be larger than capacity value: 4`,
			cores + `.validValues[2]: Duplicate value: "8"`, cores + `.validValues[3]: Invalid value: "3": values must be sorted in ascending order`,
			cores + `.default: Invalid value: "1": default value is not valid according to the requestPolicy`,
		}},
		{"no least", []string{"min: 1Gi, ", ""}, []string{memory + ".validRange.min: Required value"}},
		{"range", []string{"min: 1Gi, max: 8Gi", "min: 2Gi, max: 32Gi"}, []string{
			memory + `.validRange.min: Invalid value: "2Gi": must not be larger than default: 1Gi`, memory + `.validRange.max: Invalid value: "32Gi": must not be larger than capacity value: 16Gi`,
		}},
		{"range turned", []string{"max: 8Gi", "max: 512Mi", "step: 1Gi", "step: 512Mi"}, []string{
			memory + `.validRange.min: Invalid value: "1Gi": must not be larger than max: 512Mi`, memory + `.default: Invalid value: "1Gi": must not be larger than max: 512Mi`,
		}},
		{"least below zero", []string{"min: 1Gi, max", "min: -1Gi, max"}, []string{memory + `.validRange.min: Invalid value: "-1Gi": must be greater than or equal to zero`}},
		{"any amount", []string{"max: 8Gi, step: 1Gi", "max: 8.5Gi"}, nil},
		{"half steps", []string{"max: 8Gi", "max: 8.5Gi"}, []string{memory + `.validRange.max: Invalid value: "8704Mi": value is not a multiple of a given step (1Gi) from (1Gi)`}},
		{"no step", []string{"step: 1Gi", "step: '0'"}, []string{memory + `.validRange.step: Invalid value: "0": must be greater than zero`}},
		{"large step", []string{"step: 1Gi", "step: 16Gi"}, []string{
			memory + `.validRange.step: Invalid value: "16Gi": one step 17Gi is larger than capacity value: 16Gi`, memory + ".validRange.max: Invalid value",
		}},
		{"fractions", []string{"value: 16Gi, requestPolicy: {default: 1Gi, validRange: {min: 1Gi, max: 8Gi, step: 1Gi}}", "value: '2', requestPolicy: {default: 300m, validRange: {min: 100m, step: 100m}}"}, nil},
		{"between fractions", []string{"value: 16Gi, requestPolicy: {default: 1Gi, validRange: {min: 1Gi, max: 8Gi, step: 1Gi}}", "value: '2', requestPolicy: {default: 250m, validRange: {min: 100m, step: 100m}}"}, []string{
			memory + `.default: Invalid value: "250m": value is not a multiple of a given step (100m) from (100m)`,
		}},
	})
}

func TestResourceSliceLimits(t *testing.T) {
	k := kindNamed(t, slicesOf)
	slice := load(t, slicesOf, goodSlice).(*resourcev1.ResourceSlice)
	tainted := slice.Spec.Devices[0]
	slice.Spec.Devices = nil
	for i := range resourcev1.ResourceSliceMaxDevices {
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: fmt.Sprint("d", i)})
	}
	sameFaults(t, k.Validate(slice))
	slice.Spec.Devices[0] = tainted
	sameFaults(t, k.Validate(slice), "spec.devices: Too many: 128: must have at most 64 items")

	d := &slice.Spec.Devices[0]
	slice.Spec.Devices = slice.Spec.Devices[:1]
	for i := range resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		d.Attributes[resourcev1.QualifiedName(fmt.Sprint("a", i))] = d.Attributes["model"]
	}
	for range resourcev1.DeviceTaintsMaxLength {
		d.Taints = append(d.Taints, d.Taints[0])
	}
	sameFaults(t, k.Validate(slice), "spec.devices[0]: Invalid value: 38: the total number of attributes and capacities must not exceed 32",
		"spec.devices[0].taints: Too many: 17: must have at most 16 items")
}

func TestResourceSliceFields(t *testing.T) {
	got := kindNamed(t, slicesOf).Fields(load(t, slicesOf, goodSlice))
	if want := "spec.driver=gpu.example.com,spec.nodeName=n1,spec.pool.name=n1/gpus"; got.String() != want {
		t.Errorf("fields %s, want %s", got, want)
	}
}
