package reconcile

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// ask deletes an object as the API does: what finalizers hold is marked.
func (w *world) ask(gr schema.GroupResource, ns, name string) {
	w.t.Helper()
	o := w.objects[ref{gr, ns, name}]
	if o == nil {
		w.t.Fatalf("there is no %s %s", gr.Resource, name)
	}
	c := o.obj.DeepCopyObject()
	now := metav1.NewTime(w.now)
	mustMeta(c).SetDeletionTimestamp(&now)
	w.put(gr, c)
	w.settle()
}

func (w *world) there(gr schema.GroupResource, ns, name string) bool {
	return w.objects[ref{gr, ns, name}] != nil
}

func (w *world) change(gr schema.GroupResource, ns, name string, change func(runtime.Object)) {
	c := w.objects[ref{gr, ns, name}].obj.DeepCopyObject()
	change(c)
	w.put(gr, c)
	w.settle()
}

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func (w *world) podWith(name, node string, v corev1.VolumeSource) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("pod-" + name)}, Spec: testPodSpec("v1")}
	p.Spec.NodeName, p.Spec.Volumes = node, []corev1.Volume{{Name: "data", VolumeSource: v}}
	w.apply([]ops.Op{&ops.Put{Resource: Pods, Object: p, Expect: ops.Any}})
	w.settle()
	return p
}

func (w *world) podGoes(name string) {
	w.putRecord(w.pods[types.NamespacedName{Namespace: "default", Name: name}], nil)
	w.settle()
}

func named(claim string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}
}

func TestEveryStorageObjectIsProtected(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(Claims, claim("a"))
	w.put(Volumes, testVolume("v", "not-the-claims", "1Gi", ""))
	w.put(AttributesClasses, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}})
	w.settle()
	for r, finalizer := range map[ref]string{
		{Claims, "default", "a"}: "kubernetes.io/pvc-protection", {Volumes, "", "v"}: "kubernetes.io/pv-protection",
		{AttributesClasses, "", "fast"}: "kubernetes.io/vac-protection",
	} {
		if got := w.objects[r].meta.GetFinalizers(); !slices.Equal(got, []string{finalizer}) {
			t.Errorf("%s has the finalizers %q", r.name, got)
		}
		w.ask(r.gr, r.ns, r.name)
		if w.there(r.gr, r.ns, r.name) {
			t.Errorf("nothing uses %s, but it is still there", r.name)
		}
	}
}

func TestClaimWaitsForItsPods(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(Claims, claim("a"))
	w.settle()
	w.podWith("p", "n1", named("a"))
	w.podWith("q", "n1", named("a"))
	w.podWith("other", "n1", named("b"))
	w.ask(Claims, "default", "a")
	w.podGoes("p")
	if !w.there(Claims, "default", "a") {
		t.Fatal("the claim went while a pod had it")
	}
	w.end(corev1.PodSucceeded) // one that has ended still has it
	w.settle()
	if !w.there(Claims, "default", "a") {
		t.Fatal("the claim went although a pod that has ended names it")
	}
	w.podGoes("q")
	if w.there(Claims, "default", "a") {
		t.Fatal("the claim is still there, and no pod has it")
	}
}

func TestClaimThatAnotherHoldsStaysMarked(t *testing.T) {
	w := standardWorld(t, 1, 1)
	c := claim("a")
	c.Finalizers = []string{"example.com/mine"}
	w.put(Claims, c)
	w.settle()
	w.ask(Claims, "default", "a")
	if got := w.objects[ref{Claims, "default", "a"}].meta.GetFinalizers(); !slices.Equal(got, []string{"example.com/mine"}) {
		t.Fatalf("finalizers %q", got)
	}
}

func TestPodWithoutNodeHoldsNoClaim(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.put(Claims, claim("a"))
	w.settle()
	w.podWith("p", "", named("a"))
	w.ask(Claims, "default", "a")
	if w.there(Claims, "default", "a") {
		t.Fatal("a pod that no node has holds the claim")
	}
}

func TestClaimOfAPodWaitsForThatPodOnly(t *testing.T) {
	yes := true
	for _, c := range []struct {
		what  string
		owner types.UID
		stays bool
	}{{"its own", "pod-p", true}, {"a stranger's of that name", "somebody", false}} {
		w := standardWorld(t, 1, 1)
		own := claim("p-data")
		own.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Unknown", Name: "p", UID: c.owner, Controller: &yes}}
		p := w.podWith("p", "n1", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}})
		w.put(Claims, own)
		w.settle()
		w.ask(Claims, "default", "p-data")
		if got := w.there(Claims, "default", "p-data"); got != c.stays {
			t.Fatalf("%s: there is %v", c.what, got)
		}
		if !c.stays {
			continue
		}
		// Once the pod's time is over, only finalizers keep it, and these may wait for the claim.
		zero, now := int64(0), metav1.NewTime(w.now)
		p.Finalizers, p.DeletionTimestamp, p.DeletionGracePeriodSeconds = []string{"example.com/waits"}, &now, &zero
		w.apply([]ops.Op{&ops.Put{Resource: Pods, Object: p, Expect: ops.Any}})
		w.settle()
		if w.there(Claims, "default", "p-data") {
			t.Fatal("the claim of a pod whose time is over is still there")
		}
	}
}

func TestBoundVolumeWaits(t *testing.T) {
	w := standardWorld(t, 1, 0)
	c := testClaim("c", "", "1Gi")
	c.Spec.VolumeName = "v"
	w.put(Volumes, testVolume("v", "", "1Gi", ""))
	w.put(Claims, c)
	w.settle()
	if got := w.volume("v").Status.Phase; got != corev1.VolumeBound {
		t.Fatalf("the volume is %s", got)
	}
	w.ask(Volumes, "", "v")
	if !w.there(Volumes, "", "v") {
		t.Fatal("a bound volume went")
	}
	w.ask(Claims, "default", "c")
	w.settle()
	if w.there(Volumes, "", "v") {
		t.Fatal("a released volume is still there")
	}
}

func TestAttributesWaitForWhoWantsThem(t *testing.T) {
	w := standardWorld(t, 1, 0)
	class := "fast"
	w.put(AttributesClasses, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: class}})
	c := claim("a")
	c.Spec.VolumeAttributesClassName = &class
	w.put(Claims, c)
	w.put(Volumes, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{VolumeAttributesClassName: &class}})
	w.settle()
	w.ask(AttributesClasses, "", class)
	w.ask(Claims, "default", "a")
	if !w.there(AttributesClasses, "", class) {
		t.Fatal("the class went while a volume had it")
	}
	w.change(Volumes, "", "v", func(o runtime.Object) { o.(*corev1.PersistentVolume).Spec.VolumeAttributesClassName = nil })
	if w.there(AttributesClasses, "", class) || len(w.e.wanting) != 0 {
		t.Fatalf("the class is still there, wanted by %v", w.e.wanting)
	}
}
