package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func TestClaimWaitsForItsPodAndFollowsIt(t *testing.T) {
	w := storageWorld(t, 3)
	w.put(Claims, testClaim("data", "local-path", "1Gi"))
	w.settle()
	w.wantSaid("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	w.addUser("web", "data")
	w.settle()
	node := w.podNamed("web").Node
	v := w.wantBound("data", "")
	if node == "" || api.LocalPathNode(v) != node || v.Spec.Local.Path != "/data/"+node+"/pvc-"+string(w.claim("data").UID) {
		t.Fatalf("pod on %q, volume on %q at %s", node, api.LocalPathNode(v), v.Spec.Local.Path)
	}
	if got := w.claim("data").Annotations[volume.AnnSelectedNode]; got != node {
		t.Errorf("selected node %q", got)
	}
	w.wantSaid("ProvisioningSucceeded", "Successfully provisioned volume "+v.Name)
	w.addUser("second", "data")
	w.settle()
	if got := w.podNamed("second").Node; got != node {
		t.Errorf("the second pod is on %q, the data on %q", got, node)
	}
	// Grown, it says so; its end waits for the last pod and for the node.
	c := w.claim("data")
	c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("5Gi")
	w.put(Claims, c)
	w.settle()
	if q := w.claim("data").Status.Capacity[corev1.ResourceStorage]; q.String() != "5Gi" {
		t.Errorf("capacity %s", q.String())
	}
	w.erase(ref{Claims, "default", "data"})
	if got := w.volume(v.Name); got.Status.Phase != corev1.VolumeReleased || got.DeletionTimestamp != nil {
		t.Fatalf("a volume in use is %s, deleting %v", got.Status.Phase, got.DeletionTimestamp)
	}
	w.erase(ref{Pods, "default", "web"})
	w.erase(ref{Pods, "default", "second"})
	if !api.LocalPathDoomed(w.volume(v.Name)) {
		t.Fatalf("the node is not told: %+v", w.volume(v.Name))
	}
	w.emptyDirs()
	w.settle()
	if w.volume(v.Name) != nil {
		t.Error("the volume stays")
	}
}

func TestReasonsOfPodsWithClaims(t *testing.T) {
	w := storageWorld(t, 2)
	for name, c := range map[string]struct {
		claim  *corev1.PersistentVolumeClaim
		reason string
	}{
		"absent":  {nil, `0/2 nodes are available: persistentvolumeclaim "absent" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.`},
		"unbound": {testClaim("unbound", "", "1Gi"), "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		"manual":  {testClaim("manual", "manual", "1Gi"), "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		"shared":  {testClaim("shared", "local-path", "1Gi", corev1.ReadWriteMany), "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
	} {
		if c.claim != nil {
			w.put(Claims, c.claim)
		}
		w.addUser("pod-"+name, name)
		w.settle()
		s := w.podNamed("pod-" + name).DecodeStatus()
		if got := podCondition(&s, corev1.PodScheduled); got == nil || got.Message != c.reason {
			t.Errorf("%s: %+v", name, got)
		}
	}
	w.put(Volumes, testVolume("far", "manual", "1Gi", "nowhere"))
	w.put(Volumes, testVolume("near", "manual", "2Gi", "n2"))
	w.settle()
	w.wantBound("manual", "near")
	if got := w.podNamed("pod-manual").Node; got != "n2" {
		t.Errorf("the pod is on %q", got)
	}
	v := testVolume("lonely", "", "1Gi", "n9")
	w.put(Volumes, v)
	w.settle()
	w.wantBound("unbound", "lonely")
	s := w.podNamed("pod-unbound").DecodeStatus()
	if got := podCondition(&s, corev1.PodScheduled).Message; got != "0/2 nodes are available: 2 node(s) had volume node affinity conflict. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling." {
		t.Error(got)
	}
}

// A pod that asks for devices does not run without them.
func TestPodsThatAskForDevicesWait(t *testing.T) {
	w := storageWorld(t, 2)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "solver"}, Spec: testPodSpec("v1")}
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
	w.put(Pods, p)
	w.settle()
	s := w.podNamed("solver").DecodeStatus()
	const reason = "0/2 nodes are available: nothing allocates the devices that spec.resourceClaims asks for. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	if got := podCondition(&s, corev1.PodScheduled); got == nil || got.Message != reason {
		t.Errorf("it waits because of %+v", got)
	}
}

func TestStaticBinding(t *testing.T) {
	w := storageWorld(t, 1)
	for name, size := range map[string]string{"big": "9Gi", "fit": "3Gi", "small": "1Gi"} {
		w.put(Volumes, testVolume(name, "", size, ""))
	}
	labelled := testVolume("labelled", "", "3Gi", "")
	labelled.Labels = map[string]string{"disk": "ssd"}
	w.put(Volumes, labelled)
	reserved := testVolume("reserved", "", "20Gi", "")
	reserved.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "mine"}
	w.put(Volumes, reserved)
	w.settle()
	w.put(Claims, testClaim("a", "", "2Gi"))
	chosen := testClaim("b", "", "1Gi")
	chosen.Spec.VolumeName = "big"
	w.put(Claims, chosen)
	picky := testClaim("c", "", "1Gi")
	picky.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}
	w.put(Claims, picky)
	w.put(Claims, testClaim("mine", "", "1Gi"))
	tooBig := testClaim("d", "", "5Gi")
	tooBig.Spec.VolumeName = "small"
	w.put(Claims, tooBig)
	w.settle()
	w.wantBound("b", "big")
	w.wantBound("c", "labelled")
	w.wantBound("a", "fit")
	w.wantBound("mine", "reserved")
	w.wantSaid("VolumeMismatch", `Cannot bind to requested volume "small": requested PV is too small`)
	w.put(Claims, testClaim("e", "", "90Gi"))
	w.put(Claims, testClaim("f", "none", "1Gi"))
	w.settle()
	w.wantSaid("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	w.wantSaid("ProvisioningFailed", `storageclass.storage.k8s.io "none" not found`)

	// Retained, deleted by nobody, recycled by nobody; lost.
	w.erase(ref{Claims, "default", "a"})
	if got := w.volume("fit"); got.Status.Phase != corev1.VolumeReleased {
		t.Errorf("retained: %s", got.Status.Phase)
	}
	for name, c := range map[string]struct {
		policy        corev1.PersistentVolumeReclaimPolicy
		reason, words string
	}{
		"big":      {corev1.PersistentVolumeReclaimDelete, "VolumeFailedDelete", "no deletable volume plugin matched"},
		"labelled": {corev1.PersistentVolumeReclaimRecycle, "VolumeFailedRecycle", "No recycler plugin found for the volume!"},
	} {
		v := w.volume(name)
		v.Spec.PersistentVolumeReclaimPolicy = c.policy
		w.put(Volumes, v)
		w.erase(ref{Claims, "default", v.Spec.ClaimRef.Name})
		if got := w.volume(name); got.Status.Phase != corev1.VolumeFailed || !strings.Contains(got.Status.Message, c.words) {
			t.Errorf("%s: %+v", name, got.Status)
		}
		w.wantSaid(c.reason, c.words)
	}
	w.erase(ref{gr: Volumes, name: "reserved"})
	if got := w.claim("mine").Status.Phase; got != corev1.ClaimLost {
		t.Errorf("a claim without its volume is %s", got)
	}
	w.wantSaid("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
}

func TestEagerClassSpreadsOverNodes(t *testing.T) {
	w := storageWorld(t, 2)
	on := map[string]int{}
	for i := range 4 {
		name := fmt.Sprint("c", i)
		w.put(Claims, testClaim(name, "eager", "1Gi"))
		w.settle()
		on[api.LocalPathNode(w.wantBound(name, ""))]++
	}
	if on["n1"] != 2 || on["n2"] != 2 {
		t.Errorf("volumes by node: %v", on)
	}
	w.put(Claims, testClaim("wide", "eager", "1Gi", corev1.ReadWriteMany))
	block := testClaim("block", "eager", "1Gi")
	raw := corev1.PersistentVolumeBlock
	block.Spec.VolumeMode = &raw
	w.put(Claims, block)
	w.settle()
	w.wantSaid("ProvisioningFailed", "access mode ReadWriteMany is not supported")
	w.wantSaid("ProvisioningFailed", "volumeMode Block is not supported")
	now := storagev1.VolumeBindingImmediate
	w.put(StorageClasses, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "quick"}, Provisioner: api.LocalPathProvisioner,
		VolumeBindingMode: &now, MountOptions: []string{"noatime"}})
	w.put(StorageClasses, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "typed"}, Provisioner: api.LocalPathProvisioner,
		VolumeBindingMode: &now, Parameters: map[string]string{"type": "ssd"}})
	w.put(Claims, testClaim("quick", "quick", "1Gi"))
	w.put(Claims, testClaim("typed", "typed", "1Gi"))
	w.settle()
	w.wantSaid("ProvisioningFailed", "mountOptions are not supported")
	w.wantSaid("ProvisioningFailed", "parameters are not supported")
	// A node that is gone for good takes its volumes with it.
	victim := w.wantBound("c0", "")
	node := api.LocalPathNode(victim)
	w.erase(ref{gr: Nodes, name: node})
	w.erase(ref{Claims, "default", "c0"})
	if w.volume(victim.Name) != nil {
		t.Error("a volume waits for a node that does not exist")
	}
}

// Claims and pods that come before the nodes do are served when these are ready.
func TestClaimsBeforeNodes(t *testing.T) {
	w := storageWorld(t, 0)
	w.put(Claims, testClaim("now", "eager", "1Gi"))
	w.put(Claims, testClaim("late", "local-path", "1Gi"))
	w.addUser("p", "late")
	w.settle()
	w.wantSaid("ProvisioningFailed", "no node can take it")
	w.addNode("n1", "4", "110")
	w.settle()
	if got := w.claim("now").Status.Phase; got != corev1.ClaimPending {
		t.Errorf("a node that keeps no volumes has one: %s", got)
	}
	n := w.objects[ref{Nodes, "", "n1"}].obj.DeepCopyObject().(*corev1.Node)
	n.Labels, n.Annotations = map[string]string{corev1.LabelHostname: "n1"}, map[string]string{api.LocalPathAnnotation: "/data"}
	w.put(Nodes, n)
	w.settle()
	w.wantBound("now", "")
	w.wantBound("late", "")
	if w.podNamed("p").Node != "n1" {
		t.Error("the pod waits on")
	}
}

func TestForeignProvisioner(t *testing.T) {
	w := storageWorld(t, 2)
	w.put(Claims, testClaim("data", "foreign", "1Gi"))
	w.addUser("web", "data")
	w.settle()
	node := w.claim("data").Annotations[volume.AnnSelectedNode]
	if node == "" || w.podNamed("web").Node != "" || w.claim("data").Annotations[volume.AnnStorageProvisioner] != "example.com/disk" {
		t.Fatalf("claim %v, pod on %q", w.claim("data").Annotations, w.podNamed("web").Node)
	}
	w.wantSaid("ExternalProvisioning", "external provisioner 'example.com/disk'")
	v := testVolume("made", "foreign", "1Gi", node)
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "data", UID: w.claim("data").UID}
	w.put(Volumes, v)
	w.settle()
	w.wantBound("data", "made")
	if got := w.podNamed("web").Node; got != node {
		t.Errorf("the pod is on %q, its volume on %q", got, node)
	}
}

// A pod that was put on a node by its maker finds its volume there.
func TestClaimFollowsAPodThatWasPutSomewhere(t *testing.T) {
	w := storageWorld(t, 3)
	w.put(Claims, testClaim("data", "local-path", "1Gi"))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: testPodSpec("v1")}
	p.Spec.NodeName = "n3"
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	w.put(Pods, p)
	w.settle()
	if got := api.LocalPathNode(w.wantBound("data", "")); got != "n3" {
		t.Errorf("the pod is on n3, its volume on %s", got)
	}
}

func TestEphemeralVolumesClaim(t *testing.T) {
	w := storageWorld(t, 1)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: testPodSpec("v1")}
	p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
			Spec: testClaim("", "local-path", "1Gi").Spec}}}}}
	w.put(Pods, p)
	w.settle()
	c := w.claim("web-scratch")
	if c == nil || !metav1.IsControlledBy(c, w.podNamed("web").Pod()) || c.Labels["a"] != "b" {
		t.Fatalf("claim %+v", c)
	}
	v := w.wantBound("web-scratch", "")
	if w.podNamed("web").Node != "n1" {
		t.Error("the pod is not placed")
	}
	w.erase(ref{Pods, "default", "web"})
	w.emptyDirs()
	w.settle()
	if w.claim("web-scratch") != nil || w.volume(v.Name) != nil {
		t.Error("claim or volume outlive their pod")
	}
	w.put(Claims, testClaim("web-scratch", "local-path", "1Gi"))
	p.UID, p.ResourceVersion = "", ""
	w.put(Pods, p)
	w.settle()
	s := w.podNamed("web").DecodeStatus()
	if c := podCondition(&s, corev1.PodScheduled); c == nil || !strings.Contains(c.Message, "was not created for pod default/web (pod is not owner)") {
		t.Errorf("%+v", c)
	}
}

func TestDefaultClassAlsoLater(t *testing.T) {
	w := storageWorld(t, 1)
	c := testClaim("data", "", "1Gi")
	c.Spec.StorageClassName = nil
	w.put(Claims, c)
	w.settle()
	class := w.objects[ref{StorageClasses, "", "eager"}].obj.DeepCopyObject().(*storagev1.StorageClass)
	class.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	w.put(StorageClasses, class)
	w.settle()
	w.wantBound("data", "")
}

// Whatever happens to claims, volumes, pods and nodes, and whichever write is lost, the engine comes to rest, no volume serves two claims,
// a pod on a node reaches its volumes there, and of one writer's volume there is one such node. Invariant 35.
func TestVolumesStayWithTheirClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := storageWorld(t, 3)
		classes := []string{"", "local-path", "eager", "manual"}
		for i := range rapid.IntRange(1, 25).Draw(t, "actions") {
			name := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "which"))
			switch rapid.SampledFrom([]string{"claim", "volume", "pod", "pod", "drop claim", "drop pod", "drop volume", "dirs", "lose"}).Draw(t, "action") {
			case "claim":
				if w.claim("c"+name) == nil {
					mode := rapid.SampledFrom([]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod}).Draw(t, "mode")
					w.put(Claims, testClaim("c"+name, rapid.SampledFrom(classes).Draw(t, "class"), "1Gi", mode))
				}
			case "volume":
				node := rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "node")
				w.put(Volumes, testVolume(fmt.Sprint("v", i), rapid.SampledFrom(classes).Draw(t, "class"), "2Gi", node))
			case "pod":
				if w.podNamed("p"+name) == nil {
					w.addUser("p"+name, "c"+name, "c"+fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "other")))
				}
			case "drop claim":
				if w.claim("c"+name) != nil {
					w.deleteObject(&ops.Delete{Resource: Claims, Namespace: "default", Name: "c" + name, Expect: ops.Any})
				}
			case "drop pod":
				if p := w.podNamed("p" + name); p != nil {
					w.putRecord(p, nil)
				}
			case "drop volume":
				if list := w.list(Volumes); len(list) > 0 {
					w.deleteObject(&ops.Delete{Resource: Volumes, Name: rapid.SampledFrom(list).Draw(t, "volume").name, Expect: ops.Any})
				}
			case "dirs":
				w.emptyDirs()
			case "lose": // a step of which the last writes never reach the log
				list, _ := w.e.Step(w.now)
				n := rapid.IntRange(0, len(list)).Draw(t, "kept")
				w.apply(list[:n])
				for _, op := range list[n:] {
					for row := range rows(op) {
						w.e.Failed(op, row, ops.Conflict)
					}
				}
			}
			if rapid.Bool().Draw(t, "settle") {
				w.settle()
				w.now = w.now.Add(retryDelayMax) // what was lost again and again is tried again after that time
				w.settle()
				checkVolumes(t, w)
			}
			w.now = w.now.Add(time.Second)
		}
		w.now = w.now.Add(time.Minute)
		w.settle()
		checkVolumes(t, w)
	})
}

func rows(op ops.Op) int {
	switch op := op.(type) {
	case *ops.BindPods:
		return len(op.Rows)
	case *ops.PodStatuses:
		return len(op.Rows)
	case *ops.DeletePods:
		return len(op.Rows)
	}
	return 1
}

func checkVolumes(t *rapid.T, w *world) {
	holders := map[string]string{}
	for _, o := range w.list(Claims) {
		c := asClaim(o)
		if c.Status.Phase != corev1.ClaimBound {
			continue
		}
		if other := holders[c.Spec.VolumeName]; other != "" {
			t.Fatalf("volume %s is bound to %s and %s\n%s", c.Spec.VolumeName, other, c.Name, strings.Join(w.trace, "\n"))
		}
		holders[c.Spec.VolumeName] = c.Name
		w.wantBound(c.Name, "")
	}
	writes := map[string]string{} // claim -> node
	for _, p := range w.pods {
		for _, v := range p.Spec().Volumes {
			c := w.claim(v.PersistentVolumeClaim.ClaimName)
			if p.Node == "" || c == nil || c.Status.Phase != corev1.ClaimBound || c.CreationTimestamp.Unix() > p.Created {
				continue
			}
			pv := w.volume(c.Spec.VolumeName)
			if volume.CheckNodeAffinity(pv, map[string]string{corev1.LabelHostname: p.Node}) != nil {
				t.Fatalf("pod %s is on %s, its volume %s is not\n%s", p.Name, p.Node, pv.Name, strings.Join(w.trace, "\n"))
			}
			if was, ok := writes[c.Name]; ok && was != p.Node && api.VolumeNode(pv) == "" {
				t.Fatalf("claim %s is used on %s and %s\n%s", c.Name, was, p.Node, strings.Join(w.trace, "\n"))
			}
			writes[c.Name] = p.Node
		}
	}
}
