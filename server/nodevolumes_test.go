package server

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

// volumeWorld has a pod on n1 that names claims, and volumes in several states.
func volumeWorld() *Server {
	s := &Server{state: fsm.New()}
	now := metav1.NewTime(time.Unix(1, 0))
	volume := func(name, node, claim string, change func(*corev1.PersistentVolume)) ops.Op {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Finalizers: []string{api.LocalPathFinalizer},
			DeletionTimestamp: &now, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": api.LocalPathProvisioner}}}
		v.Spec.Local = &corev1.LocalVolumeSource{Path: "/x"}
		v.Spec.PersistentVolumeReclaimPolicy, v.Status.Phase = corev1.PersistentVolumeReclaimDelete, corev1.VolumeReleased
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
		if claim != "" {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: claim}
		}
		if change != nil {
			change(v)
		}
		return &ops.Put{Resource: volumesResource, Object: v, Expect: ops.Absent}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{
		{Name: "a", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
		{Name: "tmp", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}}}
	s.state.ApplyOps(1, []ops.Op{
		&ops.Put{Resource: fsm.Pods, Object: pod, Expect: ops.Absent},
		volume("doomed", "n1", "", nil),
		volume("bound", "n1", "data", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound }),
		volume("kept", "n1", "", func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}),
		volume("living", "n1", "", func(v *corev1.PersistentVolume) { v.DeletionTimestamp = nil }),
		volume("held", "n1", "", func(v *corev1.PersistentVolume) { v.Finalizers = append(v.Finalizers, "example.com/x") }),
		volume("nfs", "", "p-tmp", func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = nil }),
		volume("stranger", "n2", "other", nil),
	})
	return s
}

// Invariant 16: of volumes, a node reads those that are its own or that its pods have claimed.
func TestNodeMayReadVolumes(t *testing.T) {
	s := volumeWorld()
	for name, want := range map[string]bool{"doomed": true, "bound": true, "nfs": true, "stranger": false, "absent": false} {
		if got := s.nodeMayRead("n1", volumesResource, "", name); got != want {
			t.Errorf("volume %s: %v", name, got)
		}
	}
	if !s.nodeMayRead("n2", volumesResource, "", "stranger") || s.nodeMayRead("n2", volumesResource, "", "bound") {
		t.Error("n2 reads other volumes than its own")
	}
	for name, want := range map[string]bool{"data": true, "p-tmp": true, "tmp": false, "other": false} {
		if got := s.nodeMayRead("n1", claimsResource, "ns", name); got != want {
			t.Errorf("claim %s: %v", name, got)
		}
	}
	if s.nodeMayRead("n1", claimsResource, "elsewhere", "data") || s.nodeMayRead("n2", claimsResource, "ns", "data") {
		t.Error("a claim is read that no pod of the node names")
	}
}

// Invariant 16: a node removes the object of a volume only after it was told to remove the directory.
func TestNodeMayEndVolumes(t *testing.T) {
	s := volumeWorld()
	for name, want := range map[string]bool{"doomed": true, "bound": false, "kept": false, "living": false, "held": false, "nfs": false, "stranger": false, "gone": true} {
		if err := s.nodeMayWrite("n1", &ops.Delete{Resource: volumesResource, Name: name, UID: "u", Expect: ops.Any}); (err == nil) != want {
			t.Errorf("volume %s: %v", name, err)
		}
	}
	if s.nodeMayWrite("n1", &ops.Delete{Resource: volumesResource, Name: "doomed", UID: "other", Expect: ops.Any}) == nil {
		t.Error("another volume of the same name may be removed")
	}
}

func TestNodeHearsOfItsOwnVolumes(t *testing.T) {
	s := volumeWorld()
	for name, want := range map[string]bool{"doomed": true, "stranger": false, "nfs": false} {
		o, _ := s.state.Get(volumesResource, "", name)
		if got := tellsNode("n1", &api.Change{Resource: volumesResource, New: o}); got != want {
			t.Errorf("made %s: %v", name, got)
		}
		if got := tellsNode("n1", &api.Change{Resource: volumesResource, Old: o}); got != want {
			t.Errorf("deleted %s: %v", name, got)
		}
	}
}
