package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
