package api

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStorageTables(t *testing.T) {
	for name, c := range map[string]struct{ resource, head, object, row string }{
		"volume": {
			"persistentvolumes",
			"Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age||VolumeMode",
			"metadata: {name: v, " + born + "}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany, ReadWriteOnce, ReadWriteOnce, ReadOnlyMany], storageClassName: fast, volumeAttributesClassName: gold, claimRef: {namespace: default, name: c}}\nstatus: {phase: Failed, reason: Broken}",
			"v|1Gi|RWO,ROX,RWX|Retain|Failed|default/c|fast|gold|Broken|5m||Filesystem",
		},
		"volume going": {
			"persistentvolumes",
			"Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age||VolumeMode",
			"metadata: {name: v, deletionTimestamp: '2026-01-01T12:00:00Z', annotations: {volume.beta.kubernetes.io/storage-class: old}}\nspec: {accessModes: [ReadWriteOncePod], persistentVolumeReclaimPolicy: Delete, storageClassName: fast, volumeMode: Block}",
			"v|0|RWOP|Delete|Terminating||old|<unset>||<unknown>||Block",
		},
		"claim": {
			"persistentvolumeclaims",
			"Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age||VolumeMode",
			"metadata: {name: c, " + born + "}\nspec: {volumeName: v, storageClassName: fast, resources: {requests: {storage: 1Gi}}}\nstatus: {phase: Bound, capacity: {storage: 2Gi}, accessModes: [ReadWriteOnce]}",
			"c|Bound|v|2Gi|RWO|fast|<unset>|5m||Filesystem",
		},
		"claim pending": {
			"persistentvolumeclaims",
			"Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age||VolumeMode",
			"metadata: {name: c, " + born + "}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeAttributesClassName: gold}",
			"c|Pending|||||gold|5m||Filesystem",
		},
		"class": {
			"storageclasses.storage.k8s.io",
			"Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
			"metadata: {name: fast, " + born + ", annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}\nprovisioner: example.com/disk\nallowVolumeExpansion: true",
			"fast (default)|example.com/disk|Delete|Immediate|true|5m",
		},
		"other class": {
			"storageclasses.storage.k8s.io",
			"Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
			"metadata: {name: slow, " + born + "}\nprovisioner: p\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer",
			"slow|p|Retain|WaitForFirstConsumer|false|5m",
		},
		"attributes": {
			"volumeattributesclasses.storage.k8s.io", "Name|DriverName|Age",
			"metadata: {name: gold, " + born + "}\ndriverName: disk.example.com", "gold|disk.example.com|5m",
		},
		"attachment": {
			"volumeattachments.storage.k8s.io", "Name|Attacher|PV|Node|Attached|Age",
			"metadata: {name: a, " + born + "}\nspec: {attacher: disk.example.com, nodeName: n1, source: {persistentVolumeName: v}}\nstatus: {attached: true}",
			"a|disk.example.com|v|n1|true|5m",
		},
		"driver": {
			"csidrivers.storage.k8s.io", "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age",
			"metadata: {name: disk.example.com, " + born + "}", "disk.example.com|true|false|false|<unset>|false|Persistent|5m",
		},
		"driver with tokens": {
			"csidrivers.storage.k8s.io", "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age",
			"metadata: {name: d, " + born + "}\nspec: {attachRequired: false, podInfoOnMount: true, storageCapacity: true, requiresRepublish: true, volumeLifecycleModes: [Persistent, Ephemeral], tokenRequests: [{audience: a}, {audience: b}]}",
			"d|false|true|true|a,b|true|Persistent,Ephemeral|5m",
		},
		"node": {
			"csinodes.storage.k8s.io", "Name|Drivers|Age",
			"metadata: {name: n1, " + born + "}\nspec: {drivers: [{name: a, nodeID: x}, {name: b, nodeID: z}]}", "n1|2|5m",
		},
		"capacity": {
			"csistoragecapacities.storage.k8s.io", "Name|StorageClassName|Capacity",
			"metadata: {name: c, " + born + "}\nstorageClassName: fast\ncapacity: 100Gi", "c|fast|100Gi",
		},
		"capacity unknown": {
			"csistoragecapacities.storage.k8s.io", "Name|StorageClassName|Capacity",
			"metadata: {name: c, " + born + "}\nstorageClassName: fast", "c|fast|<unset>",
		},
	} {
		t.Run(name, func(t *testing.T) { sameTable(t, c.resource, c.head, c.object, c.row) })
	}
}

func TestPersistentVolumeDefaults(t *testing.T) {
	v := load(t, "persistentvolumes", `
metadata: {name: v, creationTimestamp: "2026-01-01T12:00:00Z"}
spec:
  capacity: {storage: 1.5m}
  hostPath: {path: /x}
  iscsi: {targetPortal: p, iqn: i, lun: 1}
  rbd: {monitors: [m], image: i}
  azureDisk: {diskName: d, diskURI: u}
  scaleIO: {gateway: g, system: s, secretRef: {name: x}}
status: {phase: Bound, reason: mine}
`)
	kindNamed(t, "persistentvolumes").PrepareForCreate(v)
	sameYAML(t, v, `
metadata:
  creationTimestamp: "2026-01-01T12:00:00Z"
  name: v
spec:
  azureDisk:
    cachingMode: ReadWrite
    diskName: d
    diskURI: u
    fsType: ext4
    kind: Shared
    readOnly: false
  capacity:
    storage: 2m
  hostPath:
    path: /x
    type: ""
  iscsi:
    iqn: i
    iscsiInterface: default
    lun: 1
    targetPortal: p
  persistentVolumeReclaimPolicy: Retain
  rbd:
    image: i
    keyring: /etc/ceph/keyring
    monitors:
    - m
    pool: rbd
    user: admin
  scaleIO:
    fsType: xfs
    gateway: g
    secretRef:
      name: x
    storageMode: ThinProvisioned
    system: s
  volumeMode: Filesystem
status:
  lastPhaseTransitionTime: "2026-01-01T12:00:00Z"
  phase: Pending
`)
}

func TestPersistentVolumeClaimDefaults(t *testing.T) {
	const head = "metadata:\n  name: c\nspec:\n"
	const tail = "  volumeMode: Filesystem\nstatus:\n  phase: Pending\n"
	for name, c := range map[string]struct{ spec, want string }{
		"plain": {"{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1.5m}}}",
			"  accessModes:\n  - ReadWriteOnce\n  resources:\n    requests:\n      storage: 2m\n"},
		"old data source": {"{dataSource: {kind: PersistentVolumeClaim, name: d}}",
			"  dataSource:\n    apiGroup: null\n    kind: PersistentVolumeClaim\n    name: d\n  dataSourceRef:\n    apiGroup: null\n    kind: PersistentVolumeClaim\n    name: d\n  resources: {}\n"},
		"new data source": {"{dataSourceRef: {apiGroup: a.b, kind: Thing, name: d}}",
			"  dataSource:\n    apiGroup: a.b\n    kind: Thing\n    name: d\n  dataSourceRef:\n    apiGroup: a.b\n    kind: Thing\n    name: d\n  resources: {}\n"},
		"snapshot": {"{dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: d}}",
			"  dataSource:\n    apiGroup: snapshot.storage.k8s.io\n    kind: VolumeSnapshot\n    name: d\n  dataSourceRef:\n    apiGroup: snapshot.storage.k8s.io\n    kind: VolumeSnapshot\n    name: d\n  resources: {}\n"},
		"dropped source":    {"{dataSource: {apiGroup: a.b, kind: Thing, name: d}}", "  resources: {}\n"},
		"across namespaces": {"{dataSourceRef: {apiGroup: a.b, kind: Thing, name: d, namespace: other}}", "  resources: {}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			claim := load(t, "persistentvolumeclaims", "metadata: {name: c}\nspec: "+c.spec+"\nstatus: {phase: Bound, capacity: {storage: 1}}")
			kindNamed(t, "persistentvolumeclaims").PrepareForCreate(claim)
			sameYAML(t, claim, head+c.want+tail)
		})
	}
}

func TestStorageDefaults(t *testing.T) {
	sameYAML(t, load(t, "storageclasses.storage.k8s.io", "metadata: {name: c}\nprovisioner: p"), `
metadata:
  name: c
provisioner: p
reclaimPolicy: Delete
volumeBindingMode: Immediate
`)
	sameYAML(t, load(t, "csidrivers.storage.k8s.io", "metadata: {name: d}"), `
metadata:
  name: d
spec:
  attachRequired: true
  fsGroupPolicy: ReadWriteOnceWithFSType
  podInfoOnMount: false
  preventPodSchedulingIfMissing: false
  requiresRepublish: false
  seLinuxMount: false
  storageCapacity: false
  volumeLifecycleModes:
  - Persistent
`)
	sameYAML(t, load(t, "volumeattachments.storage.k8s.io", "metadata: {name: a}\nspec: {source: {inlineVolumeSpec: {capacity: {storage: 1.5m}, rbd: {monitors: [], image: i}}}}"), `
metadata:
  name: a
spec:
  attacher: ""
  nodeName: ""
  source:
    inlineVolumeSpec:
      capacity:
        storage: 2m
      rbd:
        image: i
        keyring: /etc/ceph/keyring
        monitors: []
        pool: rbd
        user: admin
status:
  attached: false
`)
	pod := load(t, "pods", "spec: {volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 1.5m}, limits: {storage: 2.5m}}}}}}]}").(*corev1.Pod)
	claim := pod.Spec.Volumes[0].Ephemeral.VolumeClaimTemplate.Spec
	request, limit := claim.Resources.Requests[corev1.ResourceStorage], claim.Resources.Limits[corev1.ResourceStorage]
	if request.String() != "2m" || limit.String() != "3m" || *claim.VolumeMode != corev1.PersistentVolumeFilesystem {
		t.Errorf("claim of a pod: %+v", claim)
	}
}

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

func TestStorageWarnings(t *testing.T) {
	for resource, c := range map[string]struct {
		object string
		want   []string
	}{
		"persistentvolumes": {
			"metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a, volume.beta.kubernetes.io/mount-options: b}}\nspec: {persistentVolumeReclaimPolicy: Recycle, rbd: {}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/os}]}]}}}",
			[]string{
				`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
				`metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead`,
				"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
				`spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead`,
				"spec.rbd: deprecated in v1.28, non-functional in v1.31+",
			},
		},
		"persistentvolumeclaims": {
			"metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a}}\nspec: {resources: {requests: {storage: 100m}, limits: {storage: 1Gi}}}",
			[]string{
				`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
				`spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer`,
			},
		},
		"storageclasses.storage.k8s.io": {
			"allowedTopologies: [{}, {matchLabelExpressions: [{key: failure-domain.beta.kubernetes.io/zone}]}]",
			[]string{`allowedTopologies[1].matchLabelExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`},
		},
		"csistoragecapacities.storage.k8s.io": {
			"nodeTopology: {matchLabels: {beta.kubernetes.io/arch: a}, matchExpressions: [{key: beta.kubernetes.io/instance-type}]}",
			[]string{
				`nodeTopology.matchExpressions[0].key: beta.kubernetes.io/instance-type is deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
				`nodeTopology.matchLabels[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead`,
			},
		},
	} {
		t.Run(resource, func(t *testing.T) {
			got := kindNamed(t, resource).Warnings(load(t, resource, c.object), nil)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

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

const goodStorageClass = `
metadata: {name: fast}
provisioner: Example.com/disk
parameters: {kind: ssd}
allowedTopologies:
- {matchLabelExpressions: [{key: zone, values: [a, b]}]}
- {matchLabelExpressions: [{key: zone, values: [c]}]}
`

func TestStorageClassValidation(t *testing.T) {
	const at = "allowedTopologies[1].matchLabelExpressions"
	runBad(t, "storageclasses.storage.k8s.io", goodStorageClass, []badObject{
		{"no provisioner", []string{"Example.com/disk", "''"}, []string{"provisioner: Required value"}},
		{"provisioner", []string{"Example.com/disk", "a/b/c"}, []string{`provisioner: Invalid value: "a/b/c": a valid label key must consist of`}},
		{"empty key", []string{"kind: ssd", "'': ssd"}, []string{`parameters: Invalid value: "": field can not be empty.`}},
		{"too much", []string{"kind: ssd", "kind: " + strings.Repeat("x", 256<<10)}, []string{"parameters: Too long: may not be more than 262144 bytes"}},
		{"reclaim", []string{"parameters", "reclaimPolicy: Recycle\nparameters"}, []string{`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`}},
		{"binding", []string{"parameters", "volumeBindingMode: Never\nparameters"}, []string{`volumeBindingMode: Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"`}},
		{"topology twice", []string{"[c]", "[b, a]"}, []string{at + `: Duplicate value: ""`}},
		{"key twice", []string{"[c]}", "[c]}, {key: zone, values: [d]}"}, []string{at + `[1].key: Duplicate value: "zone"`}},
		{"value twice", []string{"[c]", "[c, c]"}, []string{at + `[0].values[1]: Duplicate value: "c"`}},
		{"no values", []string{"[c]", "[]"}, []string{at + "[0].values: Required value"}},
		{"key", []string{"[c]", "[c]", "key: zone, values: [c]", "key: 'z z', values: [c]"}, []string{at + `[0].key: Invalid value: "z z"`}},
	})
	runUpdates(t, "storageclasses.storage.k8s.io", goodStorageClass, []badObject{
		{"expansion", []string{"parameters", "allowVolumeExpansion: true\nmountOptions: [ro]\nparameters"}, nil},
		{"all the rest", []string{"ssd", "hdd", "com/disk", "com/tape", "parameters", "reclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer\nparameters"}, []string{
			`parameters: Invalid value: {"kind":"hdd"}: field is immutable`, `provisioner: Invalid value: "Example.com/tape": field is immutable`,
			`reclaimPolicy: Invalid value: "Retain": field is immutable`, `volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable`}},
	})
}

func TestVolumeAttributesClassValidation(t *testing.T) {
	const good = "metadata: {name: gold}\ndriverName: disk.example.com\nparameters: {iops: '9'}"
	runBad(t, "volumeattributesclasses.storage.k8s.io", good, []badObject{
		{"no driver", []string{"disk.example.com", "''"}, []string{"driverName: Required value"}},
		{"driver", []string{"disk.example.com", "'a b'"}, []string{`driverName: Invalid value: "a b"`}},
		{"no parameters", []string{"{iops: '9'}", "{}"}, []string{"parameters: Required value: must contain at least one key/value pair"}},
		{"empty key", []string{"iops", "''"}, []string{`parameters: Invalid value: "": field can not be empty.`}},
	})
	runUpdates(t, "volumeattributesclasses.storage.k8s.io", good, []badObject{
		{"anything", []string{"disk.", "tape.", "'9'", "'8'"}, []string{`driverName: Invalid value: "tape.example.com": field is immutable`, `parameters: Invalid value: {"iops":"8"}: field is immutable`}},
	})
}

func TestVolumeAttachmentValidation(t *testing.T) {
	const resource = "volumeattachments.storage.k8s.io"
	const good = "metadata: {name: a}\nspec: {attacher: disk.example.com, nodeName: n1, source: {persistentVolumeName: v}}"
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	const inline = "inlineVolumeSpec: {accessModes: [ReadWriteOnce], csi: {driver: d, volumeHandle: h}"
	const at = "spec.source.inlineVolumeSpec"
	const context = " in the context of inline volumes"
	runBad(t, resource, good, []badObject{
		{"attacher", []string{"disk.example.com", "_"}, []string{`spec.attacher: Invalid value: "_"`}},
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
	runUpdates(t, resource, good, []badObject{{"spec", []string{"n1", "n2"}, []string{"spec: Invalid value"}}})
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
