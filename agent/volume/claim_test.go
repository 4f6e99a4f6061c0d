package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

// claimWorld is a node with a pod whose volume v is a claim, bound to a directory of the built-in provisioner.
func claimWorld(t *testing.T) (*Store, *corev1.Pod, source) {
	s := &Store{Root: t.TempDir(), Local: filepath.Join(t.TempDir(), "volumes"), NodeName: "n1"}
	ref := &corev1.ObjectReference{Namespace: "ns", Name: "data", UID: "c"}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": api.LocalPathProvisioner}}}
	pv.Spec.ClaimRef, pv.Spec.Local = ref, &corev1.LocalVolumeSource{Path: filepath.Join(s.Local, "pv")}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c"}}
	c.Spec.VolumeName, c.Status.Phase = "pv", corev1.ClaimBound
	src := source{claims: map[string]*corev1.PersistentVolumeClaim{"data": c}, volumes: map[string]*corev1.PersistentVolume{"pv": pv}}
	s.Source = src
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	return s, pod, src
}

func TestClaimIsMountedAndOutlivesItsPod(t *testing.T) {
	s, pod, src := claimWorld(t)
	for range 2 {
		if err := s.Prepare(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	m, err := s.Mount(pod, &corev1.VolumeMount{Name: "v", MountPath: "/data"}, "c", "")
	if err != nil || m.Source != src.volumes["pv"].Spec.Local.Path || m.ReadOnly {
		t.Fatalf("%+v, %v", m, err)
	}
	if st, err := os.Stat(m.Source); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", st, err)
	}
	file := filepath.Join(m.Source, "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub, err := s.Mount(pod, &corev1.VolumeMount{Name: "v", MountPath: "/data"}, "c", "a/b")
	if err != nil || sub.Source != filepath.Join(m.Source, "a/b") {
		t.Errorf("%+v, %v", sub, err)
	}
	// Once it is set up, a container starts again without anybody to ask.
	s.Source = source{}
	if again, err := s.Mount(pod, &corev1.VolumeMount{Name: "v", MountPath: "/data"}, "c", ""); err != nil || again.Source != m.Source {
		t.Errorf("%+v, %v", again, err)
	}
	if err := s.Remove("u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the pod took the volume with it: %v", err)
	}
}

func TestClaimsThatCannotBeMounted(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for want, change := range map[string]func(*corev1.Pod, source){
		`MountVolume.SetUp failed for volume "v" : persistentvolumeclaim "data" not found`: func(_ *corev1.Pod, s source) { delete(s.claims, "data") },
		`volume v has volumeMode Filesystem, but is specified in volumeDevices`: func(p *corev1.Pod, _ source) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{VolumeDevices: []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}})
		},
		`MountVolume.SetUp failed for volume "v" : PVC ns/data is not bound`:                         func(_ *corev1.Pod, s source) { s.claims["data"].Status.Phase = corev1.ClaimPending },
		`MountVolume.SetUp failed for volume "v" : persistentvolume "pv" not found`:                  func(_ *corev1.Pod, s source) { delete(s.volumes, "pv") },
		`is not bound to PersistentVolumeClaim ns/data`:                                              func(_ *corev1.Pod, s source) { s.volumes["pv"].Spec.ClaimRef.UID = "other" },
		`MountVolume.SetUp failed for volume "pv" : mount options are not supported for directories`: func(_ *corev1.Pod, s source) { s.volumes["pv"].Spec.MountOptions = []string{"noatime"} },
		`MapVolume.SetUp failed for volume "pv" : the node has no raw block volumes`:                 func(_ *corev1.Pod, s source) { s.volumes["pv"].Spec.VolumeMode = &block },
		`for volume "pv" : the volume is on node n2`: func(_ *corev1.Pod, s source) {
			s.volumes["pv"].Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "n2"
		},
		`is not "`: func(_ *corev1.Pod, s source) { s.volumes["pv"].Spec.Local.Path = "/etc" },
		`MountVolume.NewMounter initialization failed for volume "pv" : path "/does/not/exist" does not exist`: func(_ *corev1.Pod, s source) {
			s.volumes["pv"].Annotations, s.volumes["pv"].Spec.Local.Path = nil, "/does/not/exist"
		},
		`MountVolume.SetUp failed for volume "pv" : this kind of volume is not supported by the node`: func(_ *corev1.Pod, s source) {
			s.volumes["pv"].Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}
		},
		`PVC ns/p-v was not created for pod ns/p (pod is not owner)`: func(p *corev1.Pod, s source) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
			s.claims["p-v"] = s.claims["data"].DeepCopy()
			s.claims["p-v"].Name = "p-v"
		},
	} {
		s, pod, src := claimWorld(t)
		change(pod, src)
		if err := s.Prepare(t.Context(), pod); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestGroupGetsItsFiles(t *testing.T) {
	s, pod, src := claimWorld(t)
	gid, mismatch := int64(2000), corev1.FSGroupChangeOnRootMismatch
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid}
	dir := src.volumes["pv"].Spec.Local.Path
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	for _, f := range []string{filepath.Join(dir, "sub/f"), outside} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	check := func(path string, mode os.FileMode, group int) {
		t.Helper()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != mode || belongsTo(st, group) != (mode&os.ModeSetgid != 0) {
			t.Errorf("%s: %v", path, st.Mode())
		}
	}
	if err := s.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	check(dir, os.ModeDir|os.ModeSetgid|0o775, 2000)
	check(filepath.Join(dir, "sub"), os.ModeDir|os.ModeSetgid|0o775, 2000)
	check(filepath.Join(dir, "sub/f"), 0o660, 2000)
	check(outside, 0o600, 2000)
	// With the root as it should be, nothing below it is looked at.
	if err := os.Chmod(filepath.Join(dir, "sub/f"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod.Spec.SecurityContext.FSGroupChangePolicy = &mismatch
	if err := s.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	check(filepath.Join(dir, "sub/f"), 0o600, 2000)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	check(filepath.Join(dir, "sub/f"), 0o660, 2000)
}
