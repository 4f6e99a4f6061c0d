package api

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVolumeAttachmentValidation(t *testing.T) {
	const resource = "volumeattachments.storage.k8s.io"
	const good = "metadata: {name: a}\nspec: {attacher: disk.example.com, nodeName: n1, source: {persistentVolumeName: v}}"
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	const inline = "inlineVolumeSpec: {accessModes: [ReadWriteOnce], csi: {driver: d, volumeHandle: h}"
	const at = "spec.source.inlineVolumeSpec"
	const context = " in the context of inline volumes"
	runBad(t, resource, good, []badObject{
		{"attacher", []string{"disk.example.com", "_"}, []string{`spec.attacher: Invalid value: "_": an RFC 1123 subdomain must consist of`}},
		{"long attacher", []string{"disk.example.com", strings.Repeat("é", 64)}, []string{`spec.attacher: Invalid value`, "spec.attacher: Too long: may not be more than 63 characters"}},
		{"no attacher", []string{"attacher: disk.example.com, ", ""}, []string{"spec.attacher: Required value"}},
		{"node", []string{"n1", "N1"}, []string{`spec.nodeName: Invalid value: "N1"`}},
		{"no source", []string{"persistentVolumeName: v", ""}, []string{"spec.source: Required value: " + one}},
		{"two sources", []string{"persistentVolumeName: v", "persistentVolumeName: v, inlineVolumeSpec: {}"}, []string{"spec.source: Forbidden: " + one}},
		{"empty name", []string{"Name: v}", "Name: ''}"}, []string{"spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"}},
		{"name", []string{"Name: v}", "Name: V}"}, []string{`spec.source.persistentVolumeName: Invalid value: "V"`}},
		{"inline", []string{"persistentVolumeName: v", inline + "}"}, nil},
		{"inline with all that claims ask", []string{"persistentVolumeName: v", inline + ", claimRef: {}, capacity: {storage: 1}, persistentVolumeReclaimPolicy: Delete, nodeAffinity: {}, storageClassName: x, volumeMode: Block}"}, []string{
			at + ".claimRef: Forbidden: may not be specified" + context, at + ".capacity: Forbidden: may not be specified" + context,
			at + ".persistentVolumeReclaimPolicy: Forbidden: may only be Retain" + context, at + ".nodeAffinity: Forbidden: may not be specified" + context,
			at + ".storageClassName: Forbidden: may not be specified" + context, at + ".volumeMode: Forbidden: may not specify volumeMode other than Filesystem" + context}},
		{"inline without csi", []string{"persistentVolumeName: v", "inlineVolumeSpec: {}"}, []string{
			at + ".csi: Required value: has to be specified" + context, at + ".accessModes: Required value", at + ": Required value: must specify a volume type"}},
	})
	k := kindNamed(t, resource)
	old := load(t, resource, good)
	bad := load(t, resource, good+"\nstatus: {attachmentMetadata: {'': "+strings.Repeat("x", 256<<10)+"x}, attachError: {errorCode: 17}, detachError: {message: "+strings.Repeat("x", 1025)+"}}")
	sameFaults(t, k.ValidateStatusUpdate(bad, old), "status.attachmentMetadata[]: Required value", "status.attachmentMetadata: Too long: may not be more than 262144 bytes",
		"status.attachError.errorCode: Invalid value: 17: must be between 0 and 16, inclusive", "status.detachError.message: Too long: may not be more than 1024 bytes")
	runUpdates(t, resource, good, []badObject{{"spec", []string{"n1", "n2"}, []string{"spec: Invalid value: null: field is immutable"}}})
}

func TestCSIDriverValidation(t *testing.T) {
	const good = "metadata: {name: disk.example.com}\nspec: {tokenRequests: [{audience: a, expirationSeconds: 600}, {audience: ''}], volumeLifecycleModes: [Persistent, Ephemeral]}"
	runBad(t, "csidrivers.storage.k8s.io", good, []badObject{
		{"name", []string{"disk.example.com", strings.Repeat("d", 64)}, []string{"name: Too long: may not be more than 63 bytes"}},
		{"policy", []string{"spec: {", "spec: {fsGroupPolicy: All, "}, []string{`spec.fsGroupPolicy: Unsupported value: "All": supported values: "File", "None", "ReadWriteOnceWithFSType"`}},
		{"mode", []string{"Ephemeral", "Eternal"}, []string{`spec.volumeLifecycleModes: Unsupported value: "Eternal": supported values: "Ephemeral", "Persistent"`}},
		{"audience twice", []string{"audience: ''", "audience: a"}, []string{`spec.tokenRequests[1].audience: Duplicate value: "a"`}},
		{"short token", []string{"600", "599"}, []string{"spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"}},
		{"long token", []string{"600", "4294967297"}, []string{"spec.tokenRequests[0].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"}},
		{"period", []string{"spec: {", "spec: {nodeAllocatableUpdatePeriodSeconds: 9, "}, []string{"spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"}},
		{"no tokens in secrets", []string{"tokenRequests: [{audience: a, expirationSeconds: 600}, {audience: ''}]", "serviceAccountTokenInSecrets: true"}, []string{"spec.serviceAccountTokenInSecrets: Invalid value: true"}},
		{"tokens in secrets", []string{"spec: {", "spec: {serviceAccountTokenInSecrets: true, "}, nil},
	})
	k := kindNamed(t, "csidrivers.storage.k8s.io")
	sameFaults(t, k.Validate(k.New()), "name: Required value", "spec.attachedRequired: Required value", "spec.podInfoOnMount: Required value",
		"spec.storageCapacity: Required value", "spec.seLinuxMount: Required value", "spec.fsGroupPolicy: Required value")
	runUpdates(t, "csidrivers.storage.k8s.io", good, []badObject{
		{"mutable", []string{"spec: {", "spec: {podInfoOnMount: true, storageCapacity: true, fsGroupPolicy: None, requiresRepublish: true, seLinuxMount: true, "}, nil},
		{"immutable", []string{"spec: {", "spec: {attachRequired: false, ", ", Ephemeral", ""}, []string{
			"spec.attachedRequired: Invalid value: false: field is immutable", `spec.volumeLifecycleModes: Invalid value: ["Persistent"]: field is immutable`}},
	})
}

func TestCSIDriverGeneration(t *testing.T) {
	const resource, head = "csidrivers.storage.k8s.io", "metadata: {name: d, generation: 3}\nspec: "
	for spec, want := range map[string]int64{"{}": 3, "{podInfoOnMount: true}": 4} {
		d := load(t, resource, head+spec)
		kindNamed(t, resource).PrepareForUpdate(d, load(t, resource, head+"{}"))
		if got := d.(metav1.Object).GetGeneration(); got != want {
			t.Errorf("spec %s: generation %d, want %d", spec, got, want)
		}
	}
}

func TestCSINodeValidation(t *testing.T) {
	const good = "metadata: {name: n1}\nspec: {drivers: [{name: disk.example.com, nodeID: x, topologyKeys: [a/zone, rack], allocatable: {count: 3}}]}"
	const at = "spec.drivers[0]"
	runBad(t, "csinodes.storage.k8s.io", good, []badObject{
		{"driver", []string{"disk.example.com", "_"}, []string{at + `.name: Invalid value: "_"`}},
		{"no driver", []string{"name: disk.example.com, ", ""}, []string{at + ".name: Required value"}},
		{"no id", []string{"nodeID: x", "nodeID: ''"}, []string{at + ".nodeID: Required value"}},
		{"long id", []string{"nodeID: x", "nodeID: " + strings.Repeat("x", 257)}, []string{at + ".nodeID: Invalid value"}},
		{"count", []string{"count: 3", "count: -1"}, []string{at + ".allocatable.count: Invalid value: -1: must be greater than or equal to 0"}},
		{"key twice", []string{"rack", "a/zone"}, []string{at + `: Duplicate value: "a/zone"`}},
		{"key", []string{"rack", "'r k'"}, []string{at + `: Invalid value: "r k"`}},
		{"driver twice", []string{"drivers: [", "drivers: [{name: disk.example.com, nodeID: z}, "}, []string{`spec.drivers[1].name: Duplicate value: "disk.example.com"`}},
	})
	runUpdates(t, "csinodes.storage.k8s.io", good, []badObject{
		{"driver gone", []string{"{name: disk.example.com, nodeID: x, topologyKeys: [a/zone, rack], allocatable: {count: 3}}", ""}, nil},
		{"count", []string{"count: 3", "count: 4"}, nil},
		{"id", []string{"nodeID: x", "nodeID: z"}, []string{"CSINodeDriver: Invalid value"}},
		{"keys", []string{", rack", ""}, []string{"CSINodeDriver: Invalid value"}},
	})
}

func TestCSINodeHasNoStatus(t *testing.T) {
	const resource = "csinodes.storage.k8s.io"
	const text = "metadata: {name: n1}\nstatus: {storageHealth: [{name: disk.example.com}]}"
	n := load(t, resource, text)
	kindNamed(t, resource).PrepareForCreate(n)
	const bare = "metadata:\n  name: n1\nspec:\n  drivers: null\nstatus: {}\n"
	sameYAML(t, n, bare)
	n = load(t, resource, text)
	kindNamed(t, resource).PrepareForUpdate(n, load(t, resource, "metadata: {name: n1}"))
	sameYAML(t, n, bare)
}

func TestCSIStorageCapacityValidation(t *testing.T) {
	const good = "metadata: {name: c, namespace: default}\nstorageClassName: fast\ncapacity: 1Gi\nmaximumVolumeSize: 1Gi\nnodeTopology: {matchLabels: {zone: a}}"
	runBad(t, "csistoragecapacities.storage.k8s.io", good, []badObject{
		{"class", []string{"fast", "Fast"}, []string{`storageClassName: Invalid value: "Fast"`}},
		{"no class", []string{"fast", "''"}, []string{`storageClassName: Invalid value: ""`}},
		{"capacity", []string{"capacity: 1Gi", "capacity: -1"}, []string{`capacity: Invalid value: "-1": must be greater than or equal to 0`}},
		{"size", []string{"Size: 1Gi", "Size: -1"}, []string{`maximumVolumeSize: Invalid value: "-1": must be greater than or equal to 0`}},
		{"topology", []string{"zone: a", "zone: 'a b'"}, []string{`nodeTopology.matchLabels: Invalid value: "a b"`}},
	})
	runUpdates(t, "csistoragecapacities.storage.k8s.io", good, []badObject{
		{"answer", []string{"capacity: 1Gi", "capacity: 2Gi", "Size: 1Gi", "Size: 2Gi"}, nil},
		{"question", []string{"fast", "slow", "zone: a", "zone: b"}, []string{
			`storageClassName: Invalid value: "slow": field is immutable`, `nodeTopology: Invalid value: {"matchLabels":{"zone":"b"}}: field is immutable`}},
	})
}
