package reconcile

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// storageWorld has nodes that keep volumes, the built-in class, one like it that binds at once, and one of somebody else.
func storageWorld(t failer, nodes int) *world {
	w := standardWorld(t, 1, nodes)
	w.furnishStorage(nodes)
	w.settle()
	return w
}

func (w *world) furnishStorage(nodes int) {
	for i := range nodes {
		o := w.objects[ref{Nodes, "", fmt.Sprintf("n%d", i+1)}].obj.DeepCopyObject().(*corev1.Node)
		o.Labels = map[string]string{corev1.LabelHostname: o.Name}
		o.Annotations = map[string]string{api.LocalPathAnnotation: "/data/" + o.Name}
		w.put(Nodes, o)
	}
	late, now, remove := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate, corev1.PersistentVolumeReclaimDelete
	for _, c := range []storagev1.StorageClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: api.LocalPathProvisioner, VolumeBindingMode: &late, ReclaimPolicy: &remove},
		{ObjectMeta: metav1.ObjectMeta{Name: "eager"}, Provisioner: api.LocalPathProvisioner, VolumeBindingMode: &now, ReclaimPolicy: &remove},
		{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, Provisioner: "example.com/disk", VolumeBindingMode: &late},
		{ObjectMeta: metav1.ObjectMeta{Name: "manual"}, Provisioner: noProvisioner, VolumeBindingMode: &late},
	} {
		w.put(StorageClasses, &c)
	}
}

func testClaim(name, class, size string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: modes, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
}

func testVolume(name, class, size, node string) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: class, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/mnt/" + name}}}}
	if node != "" {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	}
	return v
}

// addUser makes a pod that mounts the claims.
func (w *world) addUser(name string, claims ...string) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: testPodSpec("v1")}
	for i, c := range claims {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}}})
	}
	w.put(Pods, p)
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	if o := w.objects[ref{Claims, "default", name}]; o != nil {
		return o.obj.DeepCopyObject().(*corev1.PersistentVolumeClaim)
	}
	return nil
}

func (w *world) volume(name string) *corev1.PersistentVolume {
	if o := w.objects[ref{gr: Volumes, name: name}]; o != nil {
		return o.obj.DeepCopyObject().(*corev1.PersistentVolume)
	}
	return nil
}

func (w *world) podNamed(name string) *api.PodRecord {
	return w.pods[types.NamespacedName{Namespace: "default", Name: name}]
}

// emptyDirs is what the nodes do for volumes that have come to their end.
func (w *world) emptyDirs() {
	for _, o := range w.list(Volumes) {
		if api.LocalPathDoomed(asVolume(o)) {
			w.deleteObject(&ops.Delete{Resource: Volumes, Name: o.name, Expect: ops.Any})
		}
	}
}

func (w *world) erase(gr ref) {
	w.deleteObject(&ops.Delete{Resource: gr.gr, Namespace: gr.ns, Name: gr.name, Expect: ops.Any})
	w.settle()
}

// said finds the messages of events of one reason.
func (w *world) said(reason string) (out []string) {
	for _, o := range w.list(Events) {
		if ev := o.obj.(*corev1.Event); ev.Reason == reason {
			out = append(out, ev.Message)
		}
	}
	return out
}

func (w *world) wantSaid(reason, message string) {
	w.t.Helper()
	if !slices.ContainsFunc(w.said(reason), func(m string) bool { return strings.Contains(m, message) }) {
		w.t.Fatalf("no event %s %q but %q\n%s", reason, message, w.said(reason), strings.Join(w.trace, "\n"))
	}
}

func (w *world) wantBound(claim, volume string) *corev1.PersistentVolume {
	w.t.Helper()
	c := w.claim(claim)
	v := w.volume(c.Spec.VolumeName)
	if c.Status.Phase != corev1.ClaimBound || v == nil || v.Status.Phase != corev1.VolumeBound || v.Spec.ClaimRef.UID != c.UID ||
		volume != "" && v.Name != volume {
		w.t.Fatalf("claim %s: %+v %+v\nvolume: %+v\n%s", claim, c.Spec, c.Status, v, strings.Join(w.trace, "\n"))
	}
	return v
}
