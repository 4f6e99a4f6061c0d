package volume

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMemorySizeIsTheLeast(t *testing.T) {
	limit := resource.MustParse("8Mi")
	for _, c := range []struct {
		node, pod int64
		limit     *resource.Quantity
		want      int64
	}{
		{0, 0, nil, 0}, {1 << 30, 0, nil, 1 << 30}, {1 << 30, 1 << 20, nil, 1 << 20}, {1 << 30, 1 << 20, &limit, 1 << 20}, {1 << 30, 1 << 25, &limit, 8 << 20},
	} {
		s := &Store{NodeAllocatable: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(c.node, resource.BinarySI)},
			MemoryLimit: func(*corev1.Pod) int64 { return c.pod }}
		if got := s.memorySize(&corev1.Pod{}, &corev1.EmptyDirVolumeSource{SizeLimit: c.limit}); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// podWith is a pod with one volume, v.
func podWith(v corev1.VolumeSource) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: v}}}}
}

// What may be secret is in memory, what is not is not, and all of it goes at the end, whoever set it up.
func TestSecretsAreInMemory(t *testing.T) {
	src := source{maps: map[string]map[string]string{"cm": {"k": "v"}}, secrets: map[string]map[string][]byte{"s": {"k": []byte("v")}}}
	for kind, c := range map[string]struct {
		v      corev1.VolumeSource
		memory bool
	}{
		"secret":    {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, true},
		"projected": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}, true},
		"downward":  {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}, true},
		"configMap": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}, false},
	} {
		s := &Store{Root: t.TempDir(), Source: src}
		for range 2 {
			if err := s.Prepare(t.Context(), podWith(c.v)); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := isMountPoint(s.Dir("u", "v")); err != nil || m != c.memory {
			t.Errorf("%s is in memory: %v, %v", kind, m, err)
		}
		if err := (&Store{Root: s.Root}).Remove("u"); err != nil { // as an agent does that was started since
			t.Error(err)
		}
		if len(s.Known()) > 0 {
			t.Errorf("%s: %v is left", kind, s.Known())
		}
	}
}

func TestImageVolume(t *testing.T) {
	low, high := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{low + "/a": "low", low + "/b": "low", high + "/b": "high"} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pod := podWith(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "x"}})
	layers := []string{low, high}
	var refusal error
	s := &Store{Root: t.TempDir(), Layers: func(context.Context, *corev1.Pod, *corev1.ImageVolumeSource) ([]string, error) {
		return layers, refusal
	}}
	t.Cleanup(func() { _ = s.Remove("u") })
	mount := corev1.VolumeMount{Name: "v", MountPath: "/i"}
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{mount}}
	if err := errors.Join(s.Prepare(t.Context(), pod), s.PrepareImages(t.Context(), pod, &corev1.Container{})); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir("u", "v")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a volume that nobody mounts is there: %v", err)
	}
	for range 2 {
		if err := s.PrepareImages(t.Context(), pod, c); err != nil {
			t.Fatal(err)
		}
		refusal = errors.New("it is asked for twice")
	}
	refusal = nil
	m, err := s.Mount(pod, &mount, "c", "")
	if err != nil || !m.ReadOnly || !m.NoExec {
		t.Fatalf("%+v, %v", m, err)
	}
	a, _ := os.ReadFile(m.Source + "/a")
	b, _ := os.ReadFile(m.Source + "/b")
	if string(a) != "low" || string(b) != "high" {
		t.Errorf("a is %q, b is %q", a, b)
	}
	if err := os.WriteFile(m.Source+"/c", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing: %v", err)
	}
	if err := s.Remove("u"); err != nil {
		t.Fatal(err)
	}
	layers = layers[:1]
	if err := s.PrepareImages(t.Context(), pod, c); err != nil {
		t.Errorf("one layer: %v", err)
	}
	if err := s.Remove("u"); err != nil {
		t.Fatal(err)
	}
	refusal = errors.New("no such image")
	if err := s.PrepareImages(t.Context(), pod, c); err == nil || !strings.Contains(err.Error(), `MountVolume.SetUp failed for volume "v" : no such image`) {
		t.Error(err)
	}
}

// A disk without room gives an error, and what is there is not half of anything; with room again it works.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	data := map[string]string{"k": "old"}
	s := &Store{Root: filepath.Join(root, "pods"), Source: source{maps: map[string]map[string]string{"cm": data}}}
	pod := podWith(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}})
	if err := s.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(root, "ballast")
	if err := os.WriteFile(ballast, bytes.Repeat([]byte("x"), 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	data["k"], data["l"] = "new", strings.Repeat("x", 8<<10)
	if err := s.Refresh(t.Context(), pod); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("a full disk: %v", err)
	}
	if got := shown(t, s.Dir("u", "v")); len(got) != 1 || got["k"] != "old" {
		t.Errorf("shows %q", got)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, s.Dir("u", "v")); got["k"] != "new" || len(got) != 2 {
		t.Errorf("shows %d files, k is %q", len(got), got["k"])
	}
}

func TestExcess(t *testing.T) {
	limit := resource.MustParse("64Ki")
	pod := podWith(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}})
	s := &Store{Root: t.TempDir()}
	if err := s.Prepare(t.Context(), pod); err != nil || !Limited(pod) {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir("u", "v"), "f")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, file+"2"); err != nil { // the same bytes by another name
		t.Fatal(err)
	}
	if got, err := s.Excess(pod); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(file+"3", bytes.Repeat([]byte("x"), 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Excess(pod); got != `Usage of EmptyDir volume "v" exceeds the limit "64Ki". ` || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	pod.Spec.Volumes[0].EmptyDir.Medium = corev1.StorageMediumMemory
	if Limited(pod) {
		t.Error("memory cannot grow past its limit and is measured")
	}
	pod.Spec.Volumes[0].EmptyDir.Medium = "HugePages"
	if err := s.Prepare(t.Context(), pod); err == nil {
		t.Error("huge pages became a directory on disk")
	}
}

func TestTokenBelongsToItsUser(t *testing.T) {
	uid, other, gid := int64(1000), int64(1001), int64(2000)
	as := func(u *int64) corev1.Container {
		return corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: u}}
	}
	for name, c := range map[string]struct {
		pod        *corev1.PodSecurityContext
		containers []corev1.Container
		mode       os.FileMode
		owner      int
	}{
		"nobody says":   {nil, []corev1.Container{{}}, 0o644, 0},
		"the pod says":  {&corev1.PodSecurityContext{RunAsUser: &uid}, []corev1.Container{{}, {}}, 0o600, 1000},
		"both alike":    {nil, []corev1.Container{as(&uid), as(&uid)}, 0o600, 1000},
		"they differ":   {nil, []corev1.Container{as(&uid), as(&other)}, 0o644, 0},
		"a group":       {&corev1.PodSecurityContext{FSGroup: &gid}, []corev1.Container{{}}, 0o600, 0},
		"user and pod":  {&corev1.PodSecurityContext{RunAsUser: &other}, []corev1.Container{as(&uid)}, 0o600, 1000},
		"one of two is": {nil, []corev1.Container{as(&uid), {}}, 0o644, 0},
	} {
		p := projection{pod: &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: c.pod, Containers: c.containers}}, mode: 0o644, files: map[string]File{}}
		p.addToken("t", nil)
		if f := p.files["t"]; f.Mode != c.mode || f.UID != c.owner {
			t.Errorf("%s: %o of %d", name, f.Mode, f.UID)
		}
	}
}
