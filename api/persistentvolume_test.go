package api

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestVolumeSourcesAreWhole: a source that the table lacks would pass unchecked and uncounted.
func TestVolumeSourcesAreWhole(t *testing.T) {
	known := map[string]bool{}
	for _, s := range persistentVolumeSources {
		known[s.name] = true
	}
	source := reflect.TypeFor[corev1.PersistentVolumeSource]()
	for i := range source.NumField() {
		name, _, _ := strings.Cut(source.Field(i).Tag.Get("json"), ",")
		if !known[name] {
			t.Errorf("no check for the volume source %s", name)
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("%s is no volume source", name)
	}
}

const goodVolume = `
metadata: {name: v}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  csi: {driver: disk.example.com, volumeHandle: h}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: In, values: [a]}]}]}}
`

func TestPersistentVolumeValidation(t *testing.T) {
	const csi = "csi: {driver: disk.example.com, volumeHandle: h}"
	const modes = `supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`
	runBad(t, "persistentvolumes", goodVolume, []badObject{
		{"no mode", []string{"[ReadWriteOnce]", "[]"}, []string{"spec.accessModes: Required value"}},
		{"mode", []string{"[ReadWriteOnce]", "[RWO]"}, []string{`spec.accessModes: Unsupported value: "RWO": ` + modes}},
		{"modes", []string{"[ReadWriteOnce]", "[ReadWriteOnce, ReadWriteOncePod]"}, []string{"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"}},
		{"no capacity", []string{"capacity: {storage: 1Gi}", "capacity: {}"}, []string{"spec.capacity: Required value", `spec.capacity: Unsupported value: {}: supported values: "storage"`}},
		{"other capacity", []string{"{storage: 1Gi}", "{storage: 1Gi, cpu: 1}"}, []string{`spec.capacity: Unsupported value: {"cpu":"1","storage":"1Gi"}: supported values: "storage"`}},
		{"zero", []string{"storage: 1Gi", "storage: 0"}, []string{`spec.capacity[storage]: Invalid value: "0": must be greater than zero`}},
		{"negative", []string{"storage: 1Gi", "storage: -1"}, []string{
			`spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity`, `spec.capacity[storage]: Invalid value: "-1": must be greater than zero`}},
		{"reclaim", []string{"storageClassName", "persistentVolumeReclaimPolicy: Burn\n  storageClassName"}, []string{`spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"`}},
		{"class", []string{"fast", "Fast"}, []string{`spec.storageClassName: Invalid value: "Fast": a lowercase RFC 1123 subdomain`}},
		{"volume mode", []string{"storageClassName", "volumeMode: Tape\n  storageClassName"}, []string{`spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"`}},
		{"affinity", []string{"{nodeSelectorTerms: [{matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: In, values: [a]}]}]}", "{}"},
			[]string{"spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term"}},
		{"no affinity", []string{"required: {nodeSelectorTerms: [{matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: In, values: [a]}]}]}", ""},
			[]string{"spec.nodeAffinity.required: Required value: must specify required node constraints"}},
		{"no source", []string{csi, ""}, []string{"spec: Required value: must specify a volume type"}},
		{"two sources", []string{csi, csi + "\n  gcePersistentDisk: {}\n  hostPath: {path: /x}"}, []string{
			"spec.gcePersistentDisk: Forbidden: may not specify more than 1 volume type", "spec.csi: Forbidden: may not specify more than 1 volume type"}},
		{"empty attributes", []string{"storageClassName", "volumeAttributesClassName: ''\n  storageClassName"}, []string{"spec.volumeAttributesClassName: Required value: an empty string is disallowed"}},
		{"attributes of others", []string{csi, "hostPath: {path: /x}\n  volumeAttributesClassName: Gold"}, []string{
			`spec.volumeAttributesClassName: Invalid value: "Gold"`, "spec.csi: Required value: has to be specified when using volumeAttributesClassName"}},
		{"local without affinity", []string{csi, "local: {path: /x}", "nodeAffinity", "#"}, []string{"spec.nodeAffinity: Required value: Local volume requires node affinity"}},
		{"recycled root", []string{csi, "hostPath: {path: /.}\n  persistentVolumeReclaimPolicy: Recycle"}, []string{"spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"}},
		{"mount options", []string{"name: v", "name: v, annotations: {volume.beta.kubernetes.io/mount-options: ro}"}, []string{
			"metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"}},
		{"mount options of nfs", []string{"name: v", "name: v, annotations: {volume.beta.kubernetes.io/mount-options: ro}", csi, "nfs: {server: s, path: /}"}, nil},
	})
	long := strings.Repeat("d", 64)
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"csi": {"csi: {driver: " + long + ", controllerPublishSecretRef: {}, nodeStageSecretRef: {name: X, namespace: Z}}", []string{
			"spec.csi.driver: Too long: may not be more than 63 bytes", "spec.csi.volumeHandle: Required value",
			"spec.csi.controllerPublishSecretRef.name: Required value", "spec.csi.controllerPublishSecretRef.namespace: Required value",
			`spec.csi.nodeStageSecretRef.name: Invalid value: "X"`, `spec.csi.nodeStageSecretRef.namespace: Invalid value: "Z"`}},
		"csi driver":     {"csi: {driver: Disk.Example.com, volumeHandle: h}", nil},
		"csi bad driver": {"csi: {driver: disk_, volumeHandle: h}", []string{`spec.csi.driver: Invalid value: "disk_": a lowercase RFC 1123 subdomain`}},
		"no csi driver":  {"csi: {volumeHandle: h}", []string{"spec.csi.driver: Required value"}},
		"host path":      {"hostPath: {path: /a/../b}", []string{`spec.hostPath.path: Invalid value: "/a/../b": must not contain '..'`}},
		"gce":            {"gcePersistentDisk: {partition: 256}", []string{"spec.gcePersistentDisk.pdName: Required value", "spec.gcePersistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive"}},
		"aws":            {"awsElasticBlockStore: {partition: -1}", []string{"spec.awsElasticBlockStore.volumeID: Required value", "spec.awsElasticBlockStore.partition: Invalid value: -1: must be between 1 and 255, inclusive"}},
		"glusterfs":      {"glusterfs: {endpointsNamespace: ''}", []string{"spec.glusterfs.endpoints: Required value", "spec.glusterfs.path: Required value", `spec.glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name`}},
		"glusterfs ns":   {"glusterfs: {endpoints: e, path: p, endpointsNamespace: M}", []string{`spec.glusterfs.endpointsNamespace: Invalid value: "M": a lowercase RFC 1123 label`}},
		"flocker":        {"flocker: {}", []string{"spec.flocker: Required value: one of datasetName and datasetUUID is required"}},
		"two flockers":   {"flocker: {datasetName: a/b, datasetUUID: c}", []string{`spec.flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously`, `spec.flocker.datasetName: Invalid value: "a/b": must not contain '/'`}},
		"nfs":            {"nfs: {path: x}", []string{"spec.nfs.server: Required value", `spec.nfs.path: Invalid value: "x": must be an absolute path`}},
		"rbd":            {"rbd: {}", []string{"spec.rbd.monitors: Required value", "spec.rbd.image: Required value"}},
		"quobyte":        {"quobyte: {}", []string{"spec.quobyte.registry: Required value: must be a host:port pair or multiple pairs separated by commas", "spec.quobyte.volume: Required value"}},
		"quobyte pairs":  {"quobyte: {registry: 'a:1,b', volume: v}", []string{`spec.quobyte.registry: Invalid value: "a:1,b": must be a host:port pair or multiple pairs separated by commas`}},
		"quobyte tenant": {"quobyte: {registry: 'a:1', volume: v, tenant: x" + long + "}", []string{"spec.quobyte.tenant: Required value: must be a UUID and may not exceed a length of 64 characters"}},
		"cephfs":         {"cephfs: {}", []string{"spec.cephfs.monitors: Required value"}},
		"iscsi":          {"iscsi: {lun: 256, chapAuthSession: true, initiatorName: me}", []string{"spec.iscsi.targetPortal: Required value", "spec.iscsi.iqn: Required value", "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive", "spec.iscsi.secretRef: Required value", `spec.iscsi.initiatorname: Invalid value: "me": must be valid format`}},
		"iscsi names":    {"iscsi: {targetPortal: 'p:1', iqn: iqn.2001-04.com.example:disk, initiatorName: eui.0123456789abcdef, secretRef: {}}", []string{"spec.iscsi.secretRef.name: Required value"}},
		"iscsi portal":   {"iscsi: {targetPortal: " + long + ", iqn: naa.0123456789abcdef0123456789abcdef, initiatorName: iqn.2001-04.com.example:me}", []string{"spec.iscsi.targetportal: Invalid value"}},
		"iscsi bad name": {"iscsi: {targetPortal: p, iqn: iqn.01-04.com.example}", []string{`spec.iscsi.iqn: Invalid value: "iqn.01-04.com.example": must be valid format`}},
		"cinder":         {"cinder: {secretRef: {}}", []string{"spec.cinder.volumeID: Required value", "spec.cinder.secretRef.name: Required value", "spec.cinder.secretRef.namespace: Required value"}},
		"fc":             {"fc: {}", []string{"spec.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"}},
		"fc both":        {"fc: {targetWWNs: [a], wwids: [b]}", []string{`spec.fc.targetWWNs: Invalid value: ["a"]: targetWWNs and wwids can not be specified simultaneously`, "spec.fc.lun: Required value: lun is required if targetWWNs is specified"}},
		"fc lun":         {"fc: {targetWWNs: [a], lun: 256}", []string{"spec.fc.lun: Invalid value: 256: must be between 0 and 255, inclusive"}},
		"flex":           {"flexVolume: {options: {a.K8s.io/x: a, mine: b}}", []string{"spec.flexVolume.driver: Required value", `spec.flexVolume.options[a.K8s.io/x]: Invalid value: "a.K8s.io/x": kubernetes.io and k8s.io namespaces are reserved`}},
		"azure file":     {"azureFile: {secretNamespace: ''}", []string{"spec.azureFile.secretName: Required value", "spec.azureFile.shareName: Required value", "spec.azureFile.secretNamespace: Required value"}},
		"vsphere":        {"vsphereVolume: {}", []string{"spec.vsphereVolume.volumePath: Required value"}},
		"photon":         {"photonPersistentDisk: {}", []string{"spec.photonPersistentDisk.pdID: Required value"}},
		"portworx":       {"portworxVolume: {}", []string{"spec.portworxVolume.volumeID: Required value"}},
		"azure disk":     {"azureDisk: {diskName: d, diskURI: /x, cachingMode: All, kind: Managed}", []string{`spec.azureDisk.cachingMode: Unsupported value: "All": supported values: "None", "ReadOnly", "ReadWrite"`, `spec.azureDisk.diskURI: Unsupported value: "/x": supported values: "/subscriptions/`}},
		"azure blob":     {"azureDisk: {kind: Round}", []string{"spec.azureDisk.diskName: Required value", "spec.azureDisk.diskURI: Required value", `spec.azureDisk.kind: Unsupported value: "Round": supported values: "Dedicated", "Managed", "Shared"`, `spec.azureDisk.diskURI: Unsupported value: "": supported values: "https://`}},
		"scale io":       {"scaleIO: {}", []string{"spec.scaleIO.gateway: Required value", "spec.scaleIO.system: Required value", "spec.scaleIO.volumeName: Required value"}},
		"local":          {"local: {}", []string{"spec.local.path: Required value"}},
		"storage os":     {"storageos: {volumeNamespace: M, secretRef: {}}", []string{"spec.storageos.volumeName: Required value", `spec.storageos.volumeNamespace: Invalid value: "M"`, "spec.storageos.secretRef.name: Required value", "spec.storageos.secretRef.namespace: Required value"}},
	} {
		t.Run(name, func(t *testing.T) {
			sameFaults(t, kindNamed(t, "persistentvolumes").Validate(load(t, "persistentvolumes", edit(t, goodVolume, csi, c.source))), c.want...)
		})
	}
	runUpdates(t, "persistentvolumes", goodVolume, []badObject{
		{"bound", []string{"storageClassName", "claimRef: {namespace: default, name: c}\n  storageClassName", "1Gi", "2Gi", "[ReadWriteOnce]", "[ReadOnlyMany]"}, nil},
		{"source", []string{"volumeHandle: h", "volumeHandle: i"}, []string{"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"}},
		{"secret to grow", []string{"volumeHandle: h", "volumeHandle: h, controllerExpandSecretRef: {name: s, namespace: m}"}, nil},
		{"other secret", []string{"volumeHandle: h", "volumeHandle: h, nodeExpandSecretRef: {name: s, namespace: m}"}, []string{"spec.persistentvolumesource: Forbidden"}},
		{"volume mode", []string{"storageClassName", "volumeMode: Block\n  storageClassName"}, []string{`volumeMode: Invalid value: "Block": field is immutable`}},
		{"affinity", []string{"[a]", "[b]"}, []string{"nodeAffinity: Invalid value"}},
		{"renamed label", []string{"failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"}, nil},
		{"no affinity", []string{"nodeAffinity", "#"}, []string{"nodeAffinity: Invalid value: null: field is immutable"}},
	})
	runUpdates(t, "persistentvolumes", edit(t, goodVolume, "nodeAffinity", "#"), []badObject{{"affinity set", []string{"#", "nodeAffinity"}, nil}})
}

func TestPersistentVolumePhaseTime(t *testing.T) {
	k := kindNamed(t, "persistentvolumes")
	at := func(hour int) *metav1.Time { return &metav1.Time{Time: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)} }
	update := func(phase corev1.PersistentVolumePhase, given *metav1.Time) *metav1.Time {
		old := load(t, "persistentvolumes", goodVolume).(*corev1.PersistentVolume)
		old.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable, LastPhaseTransitionTime: at(1)}
		v := old.DeepCopy()
		v.Status = corev1.PersistentVolumeStatus{Phase: phase, LastPhaseTransitionTime: given}
		k.PrepareForStatusUpdate(v, old)
		return v.Status.LastPhaseTransitionTime
	}
	if got := update(corev1.VolumeAvailable, nil); !got.Equal(at(1)) {
		t.Errorf("the time was not kept: %v", got)
	}
	if got := update(corev1.VolumeBound, at(2)); !got.Equal(at(2)) {
		t.Errorf("the caller's time was not taken: %v", got)
	}
	for _, given := range []*metav1.Time{nil, at(1)} {
		if got := update(corev1.VolumeBound, given); got == nil || time.Since(got.Time) > time.Minute {
			t.Errorf("the change of phase was not stamped: %v", got)
		}
	}
}
