package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMissingConfigHeals(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}, Key: "k"},
		}}}
		w.put(p)
		w.after(time.Second)
		cs := w.get("uid-1").Status.ContainerStatuses[0]
		want(t, "state", brief(cs), "CreateContainerConfigError")
		want(t, "message", cs.State.Waiting.Message, `configmap "cfg" not found`)
		want(t, "restarts", cs.RestartCount, 0)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cfg"}, Data: map[string]string{"k": "v"}}
		b, err := cm.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.objects["configmaps/default/cfg"] = b
		w.mu.Unlock()
		w.after(5 * time.Second)
		want(t, "state", brief(w.get("uid-1").Status.ContainerStatuses[0]), "running")
	})
}

func TestImagePullBackOff(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.imageErr = &ImageError{Reason: ReasonErrImagePull, Message: "no such image"}
		w.put(podOf("a"))
		w.after(time.Second)
		want(t, "state", brief(w.get("uid-1").Status.ContainerStatuses[0]), "ErrImagePull")
		w.after(4 * time.Second)
		cs := w.get("uid-1").Status.ContainerStatuses[0]
		want(t, "state", brief(cs), "ImagePullBackOff")
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodPending)
		w.mu.Lock()
		w.imageErr = nil
		w.mu.Unlock()
		w.after(10 * time.Second)
		want(t, "state", brief(w.get("uid-1").Status.ContainerStatuses[0]), "running")
	})
}

// The image of a volume keeps only those containers waiting that mount it, as their own would, and its events are the pod's.
func TestImageVolumePullBackOff(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.imageErr, w.noImage = &ImageError{Reason: ReasonErrImagePull, Message: "no such image"}, "model:1"
		p := podOf("a", "b")
		p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "model:1"}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "m", MountPath: "/model"}}
		w.put(p)
		w.after(time.Second)
		want(t, "who mounts it", brief(w.get("uid-1").Status.ContainerStatuses[0]), "ErrImagePull")
		want(t, "the other", brief(w.get("uid-1").Status.ContainerStatuses[1]), "running")
		w.after(4 * time.Second)
		cs := w.get("uid-1").Status.ContainerStatuses[0]
		want(t, "state", brief(cs), "ImagePullBackOff")
		want(t, "why", cs.State.Waiting.Message, `Back-off pulling image "model:1": ErrImagePull: no such image`)
		var said []string
		for _, e := range w.happened() {
			if e.Type == corev1.EventTypeWarning {
				said = append(said, e.InvolvedObject.FieldPath+e.Message)
			}
		}
		slices.Sort(said)
		want(t, "events", strings.Join(slices.Compact(said), "; "),
			`Error: ErrImagePull; Error: ImagePullBackOff; Failed to pull image "model:1": no such image`)
	})
}

func TestStartError(t *testing.T) {
	live(t, func(_ string, n int) behaviour {
		if n == 0 {
			return behaviour{startFail: errors.New("exec: no such file")}
		}
		return behaviour{}
	}, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.put(p)
		w.after(time.Second)
		got := w.get("uid-1")
		want(t, "phase", got.Status.Phase, corev1.PodFailed)
		want(t, "state", brief(got.Status.ContainerStatuses[0]), "StartError")
		want(t, "code", got.Status.ContainerStatuses[0].State.Terminated.ExitCode, 128)
	})
}
