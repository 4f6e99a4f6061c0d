package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// localVolumes is where the node keeps volumes that outlive their pods.
func (a *Agent) localVolumes() string { return filepath.Join(a.cfg.DataDir, "volumes") }

// ReleaseVolumes unmounts and removes what pods keep in volumes of their own: for a node that will not come back, after its containers.
func (a *Agent) ReleaseVolumes() error { return a.vols.ReleaseAll() }

// volumeLayers has the image of a volume ready, as those of containers are.
func (a *Agent) volumeLayers(ctx context.Context, pod *corev1.Pod, v *corev1.ImageVolumeSource) ([]string, error) {
	secrets, _, err := a.pullSecrets(ctx, pod)
	if err != nil {
		return nil, err
	}
	policy := pullPolicy(&corev1.Container{Image: v.Reference, ImagePullPolicy: v.PullPolicy})
	img, err := a.cfg.Images.Ensure(ctx, v.Reference, policy, secrets, func() {
		a.events.record(pod, "", corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", v.Reference))
	})
	if err != nil {
		return nil, imageError(ctx, v.Reference, err)
	}
	a.events.record(pod, "", corev1.EventTypeNormal, "Pulled", pulled(v.Reference, img))
	if img.Handle != "" {
		return nil, errors.New("image volumes are mounted on nodes with the embedded runtime only: this node's images are kept by its container runtime")
	}
	return img.Layers, nil
}

// showsItself says whether a new version of a pod has other labels or annotations, which its volumes may show: they need not wait for
// their time then. It also is how people have a volume read again at once.
func showsItself(old, pod *corev1.Pod) bool {
	return !maps.Equal(old.Labels, pod.Labels) || !maps.Equal(old.Annotations, pod.Annotations)
}
