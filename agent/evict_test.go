package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/pressure"
)

// A pod that was bound past the scheduler and does not fit has failed, and nothing of it is made; two that would not fit
// together are not both refused.
func TestPodsThatDoNotFitAreRejected(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		cpus := w.agent.node.milliCPU
		big := podOf("a")
		big.Spec.Containers[0].Resources = amounts(fmt.Sprintf("%dm", cpus+1), "1Mi")
		w.put(big)
		w.after(time.Second)
		p := w.get("uid-1")
		want(t, "phase", p.Status.Phase, corev1.PodFailed)
		want(t, "reason", p.Status.Reason, "OutOfcpu")
		want(t, "message", p.Status.Message, fmt.Sprintf("Pod was rejected: Node didn't have enough capacity: cpu, requested: %d, capacity: %d", cpus+1, cpus))
		want(t, "started", len(w.exec.starts), 0)

		for i := range 2 {
			p := podOf("a")
			p.Name, p.UID = fmt.Sprint("half", i), types.UID(fmt.Sprint("uid-1-half", i))
			p.Spec.Containers[0].Resources = amounts(fmt.Sprintf("%dm", cpus*2/3), "1Mi")
			w.put(p)
		}
		w.after(time.Second)
		first, second := w.get("uid-1-half0").Status, w.get("uid-1-half1").Status
		if (first.Phase == corev1.PodRunning) == (second.Phase == corev1.PodRunning) {
			t.Errorf("of two pods that do not fit together, %s and %s", first.Phase, second.Phase)
		}
		// Whatever an agent finds running stays, and a pod that has ended leaves room.
		w.stop()
		w.boot()
		w.after(time.Second)
		want(t, "after a restart", w.get("uid-1-half0").Status.Phase, first.Phase)
		w.delete("uid-1-half0", 0)
		w.delete("uid-1-half1", 0)
		w.after(5 * time.Second)
		again := podOf("a")
		again.Name, again.UID = "again", "uid-again"
		again.Spec.Containers[0].Resources = amounts(fmt.Sprintf("%dm", cpus), "1Mi")
		w.put(again)
		w.after(time.Second)
		want(t, "when there is room", w.get("uid-again").Status.Phase, corev1.PodRunning)
	})
}

func TestEvictedPod(t *testing.T) {
	live(t, func(string, int) behaviour { return behaviour{onTerm: -1} }, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.agent.worker("uid-1").post(evEvict{"The node was low on resource: memory. "})
		w.after(3 * time.Second)
		p := w.get("uid-1")
		want(t, "phase", p.Status.Phase, corev1.PodFailed)
		want(t, "reason", p.Status.Reason, "Evicted")
		want(t, "message", p.Status.Message, "The node was low on resource: memory. ")
		c := findCondition(p.Status.Conditions, corev1.DisruptionTarget)
		want(t, "condition", c != nil && c.Status == corev1.ConditionTrue && c.Reason == "TerminationByKubelet", true)
		want(t, "left", w.exec.runningNames(), "")
		w.stop()
		w.boot()
		w.after(time.Second)
		want(t, "after a restart", w.get("uid-1").Status.Reason, "Evicted")
	})
}

// A pod that the node ends has failed only once its containers have ended: until then it keeps its place on the node, and says no more
// than that it goes.
func TestEvictedPodLivesUntilItHasEnded(t *testing.T) {
	live(t, func(string, int) behaviour { return behaviour{onTerm: -1} }, func(t *testing.T, w *world) {
		most := func(uid types.UID) *corev1.Pod {
			p := podOf("a")
			p.Name, p.UID = string(uid), uid
			p.Spec.Containers[0].Resources = amounts(fmt.Sprintf("%dm", w.agent.node.milliCPU*2/3), "1Mi")
			return p
		}
		w.put(most("uid-1"))
		w.after(time.Second)
		w.agent.worker("uid-1").post(evEvict{"The node was low on resource: memory. "})
		w.after(evictionGrace / 2)
		p := w.get("uid-1")
		want(t, "phase before its end", p.Status.Phase, corev1.PodRunning)
		want(t, "reason before its end", p.Status.Reason+p.Status.Message, "")
		want(t, "goes already", goesAlready(p), true)
		want(t, "is chosen again", len(pressedNode{w.agent}.Uses(t.Context(), pressure.NodefsAvailable)), 0)
		w.put(most("uid-early"))
		w.after(evictionGrace / 4)
		want(t, "before there is room", w.get("uid-early").Status.Reason, "OutOfcpu")
		w.after(2 * evictionGrace)
		want(t, "phase at last", w.get("uid-1").Status.Phase, corev1.PodFailed)
		want(t, "reason at last", w.get("uid-1").Status.Reason, "Evicted")
		w.put(most("uid-late"))
		w.after(time.Second)
		want(t, "when there is room", w.get("uid-late").Status.Phase, corev1.PodRunning)
	})
}

func TestDiskOverTheLimit(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p := podOf("a", "b")
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Mi")}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		w.put(p)
		w.after(time.Minute)
		want(t, "with little on disk", w.get("uid-1").Status.Phase, corev1.PodRunning)
		file := filepath.Join(w.dir, "pods", "uid-1", "volumes", "v", "big")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, make([]byte, 2<<20), 0o644)); err != nil {
			t.Fatal(err)
		}
		w.after(diskWatchEvery + 3*time.Second)
		got := w.get("uid-1")
		want(t, "phase", got.Status.Phase, corev1.PodFailed)
		want(t, "message", got.Status.Message, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ")
	})
}
