package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// defaultMode is the mode of files whose volume does not say.
const defaultMode = 0o644

// projects says whether a volume's files come from API objects.
func projects(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// Refreshable says whether a pod has volumes that change when API objects do.
func (s *Store) Refreshable(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if projects(&pod.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

// Refresh writes the files of such volumes anew where they have changed. What cannot be read keeps its
// files, and the error says so.
func (s *Store) Refresh(ctx context.Context, pod *corev1.Pod) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; projects(v) {
			if err := s.project(ctx, pod, v); err != nil {
				errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Store) project(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	p := projection{store: s, pod: pod, dir: s.Dir(string(pod.UID), v.Name), files: map[string]File{}}
	if err := p.volume(ctx, v); err != nil {
		return err
	}
	if v.ConfigMap == nil { // everything else may be secret, and never reaches a disk
		if err := os.MkdirAll(p.dir, 0o755); err != nil {
			return err
		}
		if err := mountMemory(p.dir, 0); err != nil {
			return err
		}
	}
	_, err := Write(p.dir, p.files, fsGroup(pod))
	return err
}

// projection gathers one volume's files.
type projection struct {
	store *Store
	pod   *corev1.Pod
	dir   string
	mode  os.FileMode
	files map[string]File
}

func modeOr(m *int32, other os.FileMode) os.FileMode {
	if m == nil {
		return other
	}
	return os.FileMode(*m) & os.ModePerm
}

func (p *projection) volume(ctx context.Context, v *corev1.Volume) error {
	p.mode = defaultMode
	switch {
	case v.ConfigMap != nil:
		c := v.ConfigMap
		p.mode = modeOr(c.DefaultMode, defaultMode)
		return p.configMap(ctx, c.Name, c.Items, c.Optional)
	case v.Secret != nil:
		c := v.Secret
		p.mode = modeOr(c.DefaultMode, defaultMode)
		return p.secret(ctx, c.SecretName, c.Items, c.Optional)
	case v.DownwardAPI != nil:
		p.mode = modeOr(v.DownwardAPI.DefaultMode, defaultMode)
		return p.downward(v.DownwardAPI.Items)
	}
	p.mode = modeOr(v.Projected.DefaultMode, defaultMode)
	for i := range v.Projected.Sources {
		if err := p.source(ctx, &v.Projected.Sources[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) source(ctx context.Context, s *corev1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		return p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.secret(ctx, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.downward(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		return p.token(ctx, s.ServiceAccountToken)
	case s.ClusterTrustBundle != nil:
		return p.trustBundle(ctx, s.ClusterTrustBundle)
	}
	return errors.New("the node does not support this source of a projected volume")
}

// trustBundle adds the trust anchors of the bundle that is named, in whose PEM there is nothing else (KEP-3257). Bundles of a signer,
// of which there may be several, would have to be listed.
func (p *projection) trustBundle(ctx context.Context, t *corev1.ClusterTrustBundleProjection) error {
	if t.Name == nil {
		return missing(t.Optional, "the node does not support clusterTrustBundle by signerName: name the bundle")
	}
	pem, found, err := p.store.Source.TrustBundle(ctx, *t.Name)
	if err != nil {
		return err
	}
	if !found {
		return missing(t.Optional, "clustertrustbundle %q not found", *t.Name)
	}
	p.files[t.Path] = File{Data: []byte(pem), Mode: p.mode}
	return nil
}

func (p *projection) configMap(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) error {
	cm, found, err := p.store.Source.ConfigMap(ctx, p.pod.Namespace, name)
	if err != nil {
		return err
	}
	if !found {
		return missing(optional, "configmap %q not found", name)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		data[k] = v
	}
	return p.keys("config", data, items, optional)
}

func (p *projection) secret(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) error {
	s, found, err := p.store.Source.Secret(ctx, p.pod.Namespace, name)
	if err != nil {
		return err
	}
	if !found {
		return missing(optional, "secret %q not found", name)
	}
	return p.keys("secret", s.Data, items, optional)
}

func missing(optional *bool, format string, args ...any) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// keys adds the chosen keys under their paths, or all keys under their names.
func (p *projection) keys(kind string, data map[string][]byte, items []corev1.KeyToPath, optional *bool) error {
	if len(items) == 0 {
		for k, v := range data {
			p.files[k] = File{Data: v, Mode: p.mode}
		}
		return nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if err := missing(optional, "references non-existent %s key: %s", kind, it.Key); err != nil {
				return err
			}
			continue
		}
		p.files[it.Path] = File{Data: v, Mode: modeOr(it.Mode, p.mode)}
	}
	return nil
}

func (p *projection) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, it := range items {
		text, err := p.downwardValue(&it)
		if err != nil {
			return err
		}
		p.files[it.Path] = File{Data: []byte(text), Mode: modeOr(it.Mode, p.mode)}
	}
	return nil
}

func (p *projection) downwardValue(it *corev1.DownwardAPIVolumeFile) (string, error) {
	switch {
	case it.FieldRef != nil:
		return Field(p.pod, it.FieldRef.FieldPath)
	case it.ResourceFieldRef != nil:
		for i := range p.pod.Spec.Containers {
			if c := &p.pod.Spec.Containers[i]; c.Name == it.ResourceFieldRef.ContainerName {
				return Resource(c, it.ResourceFieldRef, p.store.NodeAllocatable)
			}
		}
		return "", fmt.Errorf("container %q not found", it.ResourceFieldRef.ContainerName)
	}
	return "", nil
}

// defaultTokenSeconds is what Kubernetes takes where no lifetime is asked for.
const defaultTokenSeconds = 3600

// token adds a service account token, the one that is there already while it is young; it is left out where the control plane cannot
// issue one.
func (p *projection) token(ctx context.Context, t *corev1.ServiceAccountTokenProjection) error {
	seconds := int64(defaultTokenSeconds)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, dataLink, t.Path)); err == nil && youngToken(b, time.Now()) {
		p.addToken(t.Path, b)
		return nil
	}
	b, found, err := p.store.Source.Token(ctx, p.pod, t.Audience, seconds)
	if err != nil || !found {
		return err
	}
	p.addToken(t.Path, b)
	return nil
}

// addToken adds a token that only its user can read, where it is known who that is: one user of all containers, or the pod's group.
func (p *projection) addToken(path string, token []byte) {
	f := File{Data: token, Mode: p.mode, UID: onlyUser(p.pod)}
	if f.UID > 0 || fsGroup(p.pod) >= 0 {
		f.Mode = 0o600
	}
	p.files[path] = f
}

// onlyUser is whom all of a pod's containers run as; 0 if that is not said or they differ.
func onlyUser(pod *corev1.Pod) int {
	common := int64(-1)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			user := int64(0)
			if sc := pod.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil {
				user = *sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				user = *sc.RunAsUser
			}
			if common >= 0 && common != user {
				return 0
			}
			common = user
		}
	}
	return int(max(0, common))
}
