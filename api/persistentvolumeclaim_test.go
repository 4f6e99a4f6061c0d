package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const goodClaim = `
metadata: {name: c, namespace: default}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 2Gi}}
  storageClassName: fast
  selector: {matchLabels: {a: b}}
`

func TestPersistentVolumeClaimValidation(t *testing.T) {
	bad := []badObject{
		{"no mode", []string{"[ReadWriteOnce]", "[]"}, []string{"spec.accessModes: Required value: at least 1 access mode is required"}},
		{"modes", []string{"[ReadWriteOnce]", "[ReadWriteOncePod, ReadOnlyMany]"}, []string{"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"}},
		{"mode", []string{"[ReadWriteOnce]", "[X]"}, []string{`spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`}},
		{"no storage", []string{"storage: 2Gi", "cpu: 1"}, []string{"spec.resources[storage]: Required value"}},
		{"zero", []string{"storage: 2Gi", "storage: 0"}, []string{`spec.resources[storage]: Invalid value: "0": must be greater than zero`}},
		{"class", []string{"fast", "Fast"}, []string{`spec.storageClassName: Invalid value: "Fast"`}},
		{"empty class", []string{"fast", "''"}, nil},
		{"selector", []string{"{a: b}", "{a: 'b c'}"}, []string{`spec.selector.matchLabels: Invalid value: "b c"`}},
		{"volume mode", []string{"selector", "volumeMode: Tape\n  selector"}, []string{`spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"`}},
		{"attributes", []string{"selector", "volumeAttributesClassName: Gold\n  selector"}, []string{`spec.volumeAttributesClassName: Invalid value: "Gold"`}},
		{"source", []string{"selector", "dataSource: {kind: Thing}\n  selector"}, []string{
			"spec.dataSource.name: Required value", `spec.dataSource: Invalid value: "Thing": must be 'PersistentVolumeClaim' when referencing the default apiGroup`}},
		{"source group", []string{"selector", "dataSourceRef: {apiGroup: A_b, name: x}\n  selector"}, []string{
			"spec.dataSourceRef.kind: Required value", `spec.dataSourceRef.apiGroup: Invalid value: "A_b"`}},
		{"sources differ", []string{"selector", "dataSource: {kind: PersistentVolumeClaim, name: a}\n  dataSourceRef: {kind: PersistentVolumeClaim, name: b}\n  selector"},
			[]string{`spec: Invalid value: "spec.dataSource": must match dataSourceRef`}},
		{"source elsewhere", []string{"selector", "dataSource: {kind: PersistentVolumeClaim, name: a}\n  dataSourceRef: {kind: PersistentVolumeClaim, name: a, namespace: M}\n  selector"}, []string{
			`spec.dataSourceRef.namespace: Invalid value: "M"`, `spec: Invalid value: "spec.dataSource": may not be specified when dataSourceRef.namespace is specified`}},
	}
	runBad(t, "persistentvolumeclaims", goodClaim, bad)
	runUpdates(t, "persistentvolumeclaims", goodClaim, []badObject{
		{"volume", []string{"selector", "volumeName: v\n  selector"}, nil},
		{"more while unbound", []string{"2Gi", "3Gi"}, []string{"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"}},
		{"class", []string{"fast", "slow"}, []string{"spec: Forbidden"}},
		{"volume mode", []string{"selector", "volumeMode: Block\n  selector"}, []string{"spec: Forbidden", `volumeMode: Invalid value: "Block": field is immutable`}},
		{"class annotation", []string{"name: c", "name: c, annotations: {volume.beta.kubernetes.io/storage-class: x}"}, []string{
			`metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "x": field is immutable`}},
	})
	populated := edit(t, goodClaim, "selector", "dataSourceRef: {apiGroup: a.b, kind: Thing, name: d}\n  selector")
	runUpdates(t, "persistentvolumeclaims", populated, []badObject{
		{"source by its new field", nil, nil},
		{"source by its old field", []string{"dataSourceRef", "dataSource"}, nil},
		{"other source", []string{"name: d", "name: e"}, []string{"spec: Forbidden"}},
	})
	classless := edit(t, goodClaim, "  storageClassName: fast\n", "")
	runUpdates(t, "persistentvolumeclaims", classless, []badObject{{"class given later", []string{"selector", "storageClassName: fast\n  selector"}, nil}})
	annotated := edit(t, classless, "name: c", "name: c, annotations: {volume.beta.kubernetes.io/storage-class: fast}")
	runUpdates(t, "persistentvolumeclaims", annotated, []badObject{
		{"class moved to its field", []string{"selector", "storageClassName: fast\n  selector", ", annotations: {volume.beta.kubernetes.io/storage-class: fast}", ""}, nil},
		{"other class", []string{"selector", "storageClassName: slow\n  selector"}, []string{"spec: Forbidden"}},
	})
}

// TestBoundClaimUpdate: the status is the old one's, as the strategy keeps it.
func TestBoundClaimUpdate(t *testing.T) {
	const bound = goodClaim + "  volumeName: v\n  volumeAttributesClassName: gold\nstatus: {phase: Bound, capacity: {storage: 1Gi}"
	const applied = bound + ", currentVolumeAttributesClassName: gold}"
	for name, c := range map[string]struct {
		old   string
		edits []string
		want  []string
	}{
		"grow":                {applied, []string{"2Gi", "3Gi"}, nil},
		"shrink to reach":     {applied, []string{"2Gi", "1500Mi"}, nil},
		"shrink too far":      {applied, []string{"2Gi", "1Gi"}, []string{"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"}},
		"other attributes":    {applied, []string{"Name: gold", "Name: silver"}, nil},
		"no attributes":       {applied, []string{"  volumeAttributesClassName: gold\n", ""}, []string{"spec.volumeAttributesClassName: Forbidden"}},
		"empty attributes":    {applied, []string{"Name: gold", "Name: ''"}, []string{"spec.volumeAttributesClassName: Forbidden"}},
		"attributes given up": {bound + "}", []string{"  volumeAttributesClassName: gold\n", ""}, nil},
		"other volume":        {applied, []string{"volumeName: v", "volumeName: w"}, []string{"spec: Forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			old, claim := load(t, "persistentvolumeclaims", c.old), load(t, "persistentvolumeclaims", edit(t, c.old, c.edits...))
			sameFaults(t, kindNamed(t, "persistentvolumeclaims").ValidateUpdate(claim, old), c.want...)
		})
	}
}

func TestPersistentVolumeClaimStatus(t *testing.T) {
	k := kindNamed(t, "persistentvolumeclaims")
	old := load(t, "persistentvolumeclaims", goodClaim)
	good := load(t, "persistentvolumeclaims", goodClaim+"status: {phase: Bound, capacity: {storage: 2Gi}, allocatedResources: {storage: 3Gi, example.com/iops: 4}, allocatedResourceStatuses: {storage: NodeResizePending}, healthStatus: {}}")
	k.PrepareForStatusUpdate(good, old)
	sameFaults(t, k.ValidateStatusUpdate(good, old))
	if good.(*corev1.PersistentVolumeClaim).Status.HealthStatus != nil {
		t.Error("an alpha field was kept")
	}
	bad := load(t, "persistentvolumeclaims", edit(t, goodClaim, "[ReadWriteOnce]", "[]")+"status: {capacity: {storage: -1}, allocatedResources: {cpu: -3}, allocatedResourceStatuses: {kubernetes.io/x: Odd}}")
	sameFaults(t, k.ValidateStatusUpdate(bad, old), "spec.accessModes: Required value",
		"status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
		`status.allocatedResources: Unsupported value: "cpu": supported values: "storage"`,
		"status.allocatedResources[cpu]: Invalid value: -3: must be a valid resource quantity",
		`status.allocatedResourceStatus: Unsupported value: "kubernetes.io/x": supported values: "storage"`,
		`status.allocatedResourceStatus: Unsupported value: "Odd": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"`)
}

// TestPodVolumesAreChecked: pods share the checks of persistent volumes.
func TestPodVolumesAreChecked(t *testing.T) {
	const at = "spec.volumes[0]"
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"claim":       {"ephemeral: {volumeClaimTemplate: {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}}}}", nil},
		"no claim":    {"ephemeral: {}", []string{at + ".ephemeral.volumeClaimTemplate: Required value"}},
		"empty claim": {"ephemeral: {volumeClaimTemplate: {}}", []string{at + ".ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required", at + ".ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value"}},
		"named claim": {"ephemeral: {volumeClaimTemplate: {metadata: {name: x, labels: {a: 'b c'}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}}}}", []string{
			at + `.ephemeral.volumeClaimTemplate.metadata.labels: Invalid value: "b c"`, at + ".ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"}},
		"csi":       {"csi: {driver: _, nodePublishSecretRef: {}}", []string{at + `.csi.driver: Invalid value: "_"`, at + ".csi.nodePublishSecretRef.name: Required value"}},
		"gce":       {"gcePersistentDisk: {}", []string{at + ".gcePersistentDisk.pdName: Required value"}},
		"aws":       {"awsElasticBlockStore: {}", []string{at + ".awsElasticBlockStore.volumeID: Required value"}},
		"glusterfs": {"glusterfs: {endpoints: e}", []string{at + ".glusterfs.path: Required value"}},
		"flocker":   {"flocker: {}", []string{at + ".flocker: Required value"}},
		"rbd":       {"rbd: {image: i}", []string{at + ".rbd.monitors: Required value"}},
		"quobyte":   {"quobyte: {registry: 'a:1'}", []string{at + ".quobyte.volume: Required value"}},
		"cephfs":    {"cephfs: {}", []string{at + ".cephfs.monitors: Required value"}},
		"iscsi":     {"iscsi: {targetPortal: p, iqn: eui.0123456789abcdef, secretRef: {}}", []string{at + ".iscsi.secretRef.name: Required value"}},
		"cinder":    {"cinder: {secretRef: {}}", []string{at + ".cinder.volumeID: Required value", at + ".cinder.secretRef.name: Required value"}},
		"fc":        {"fc: {wwids: [a]}", nil},
		"flex":      {"flexVolume: {}", []string{at + ".flexVolume.driver: Required value"}},
		"azureFile": {"azureFile: {shareName: s}", []string{at + ".azureFile.secretName: Required value"}},
		"vsphere":   {"vsphereVolume: {}", []string{at + ".vsphereVolume.volumePath: Required value"}},
		"photon":    {"photonPersistentDisk: {}", []string{at + ".photonPersistentDisk.pdID: Required value"}},
		"portworx":  {"portworxVolume: {}", []string{at + ".portworxVolume.volumeID: Required value"}},
		"azureDisk": {"azureDisk: {diskName: d, diskURI: 'https://x'}", nil},
		"scaleIO":   {"scaleIO: {gateway: g, system: s}", []string{at + ".scaleIO.volumeName: Required value"}},
		"storageos": {"storageos: {volumeName: v, secretRef: {}}", []string{at + ".storageos.secretRef.name: Required value"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := load(t, "pods", "metadata: {name: p}\nspec: {containers: [{name: c, image: i}], volumes: [{name: v, "+c.source+"}]}")
			sameFaults(t, kindNamed(t, "pods").Validate(pod), c.want...)
		})
	}
}

func TestClaimsOfPods(t *testing.T) {
	const text = "{containers: [{name: c, image: i}], volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100m}}}}}}]}"
	name := strings.Repeat("p", 252)
	pod := load(t, "pods", "metadata: {name: "+name+"}\nspec: "+text)
	sameFaults(t, kindNamed(t, "pods").Validate(pod), `spec.volumes[0].name: Invalid value: "v": PVC name "`+name+`-v": must be no more than 253`)
	want := `spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer`
	if got := kindNamed(t, "pods").Warnings(pod, pod); len(got) != 1 || got[0] != want {
		t.Errorf("warnings %q, want %q", got, want)
	}
}
