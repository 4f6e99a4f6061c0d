package volume

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type source struct {
	maps    map[string]map[string]string
	secrets map[string]map[string][]byte
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
}

func (s source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, bool, error) {
	d, ok := s.maps[name]
	return &corev1.ConfigMap{Data: d}, ok, nil
}

func (s source) Secret(_ context.Context, _, name string) (*corev1.Secret, bool, error) {
	d, ok := s.secrets[name]
	return &corev1.Secret{Data: d}, ok, nil
}

func (s source) Claim(_ context.Context, _, name string) (*corev1.PersistentVolumeClaim, bool, error) {
	c, ok := s.claims[name]
	return c, ok, nil
}

func (s source) Volume(_ context.Context, name string) (*corev1.PersistentVolume, bool, error) {
	v, ok := s.volumes[name]
	return v, ok, nil
}

func (s source) Token(context.Context, *corev1.Pod, string, int64) ([]byte, bool, error) {
	return nil, false, nil
}

func (s source) TrustBundle(_ context.Context, name string) (string, bool, error) {
	return "anchors of " + name, name == "ours", nil
}

func TestVolumes(t *testing.T) {
	yes := true
	bundle := func(name, signer *string, optional *bool) corev1.VolumeSource {
		return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: name, SignerName: signer, Optional: optional, Path: "ca.pem"}}}}}
	}
	ours, theirs := "ours", "theirs"
	named := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	for _, c := range []struct {
		name   string
		volume corev1.VolumeSource
		want   map[string]string
		fails  bool
	}{
		{"configMap", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("cm")}}, map[string]string{"k": "v", "l": "w"}, false},
		{"items", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("cm"),
			Items: []corev1.KeyToPath{{Key: "k", Path: "d/e"}}}}, map[string]string{"d/e": "v"}, false},
		{"absent item", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("cm"),
			Items: []corev1.KeyToPath{{Key: "no", Path: "d"}}}}, nil, true},
		{"trust bundle", bundle(&ours, nil, nil), map[string]string{"ca.pem": "anchors of ours"}, false},
		{"absent trust bundle", bundle(&theirs, nil, nil), nil, true},
		{"absent trust bundle that is optional", bundle(&theirs, nil, &yes), map[string]string{}, false},
		{"trust bundles of a signer", bundle(nil, &ours, nil), nil, true},
		{"pod certificate", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{}}}}}, nil, true},
		{"secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, map[string]string{"p": "q"}, false},
		{"absent secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "no"}}, nil, true},
		{"optional", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "no", Optional: &yes}}, map[string]string{}, false},
		{"downward", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "one", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a']"}},
			{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu", Divisor: resource.MustParse("1m")}},
		}}}, map[string]string{"labels": "a=\"1\"\nb=\"2\"", "one": "1", "cpu": "250"}, false},
		{"projected", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("cm")}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: named("s")}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}, map[string]string{"k": "v", "l": "w", "p": "q"}, false},
		{"emptyDir", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, map[string]string{}, false},
		{"nfs", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Store{Root: t.TempDir(), Source: source{
				maps:    map[string]map[string]string{"cm": {"k": "v", "l": "w"}},
				secrets: map[string]map[string][]byte{"s": {"p": []byte("q")}},
			}}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Labels: map[string]string{"a": "1", "b": "2"}}}
			pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: c.volume}}
			pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}}}}
			err := s.Prepare(context.Background(), pod)
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if c.fails {
				return
			}
			if got := shown(t, s.Dir("u", "v")); !maps.Equal(got, c.want) {
				t.Errorf("shows %v, want %v", got, c.want)
			}
			if err := s.Remove("u"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(s.Root, "u")); !os.IsNotExist(err) {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}

func TestMemoryIsMountedOnceAndUnmounted(t *testing.T) {
	s := &Store{Root: t.TempDir()}
	size := resource.MustParse("1Mi")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}}}
	for range 2 {
		if err := s.Prepare(context.Background(), pod); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := isMountPoint(s.Dir("u", "v")); err != nil || !m {
		t.Errorf("mounted: %v, %v", m, err)
	}
	if err := s.Remove("u"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.Root, "u")); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}
