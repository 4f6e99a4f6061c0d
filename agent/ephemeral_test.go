package agent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// debugged is the pod with one more ephemeral container.
func debugged(p *corev1.Pod, name string) *corev1.Pod {
	q := p.DeepCopy()
	q.Spec.EphemeralContainers = append(q.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "debug:1"}})
	return q
}

func TestEphemeralContainerJoinsARunningPod(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		if name == "look" {
			return behaviour{runs: 20 * time.Second, code: 3}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.put(debugged(w.get("uid-1"), "look"))
		w.after(time.Second)
		want(t, "running", w.exec.runningNames(), "a look")
		cs := w.get("uid-1").Status.EphemeralContainerStatuses
		want(t, "statuses", len(cs), 1)
		want(t, "state", brief(cs[0]), "running")
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodRunning)
		want(t, "Ready", isTrueCondition(w.get("uid-1"), corev1.PodReady), true)
		w.after(time.Minute)
		p := w.get("uid-1")
		want(t, "its end", brief(p.Status.EphemeralContainerStatuses[0]), "Error")
		want(t, "it is not started again", p.Status.EphemeralContainerStatuses[0].RestartCount, 0)
		want(t, "the pod goes on", isTrueCondition(p, corev1.PodReady), true)
		w.put(debugged(p, "again"))
		w.after(time.Second)
		want(t, "running", w.exec.runningNames(), "a again")
		w.stop()
		w.boot()
		w.after(time.Second)
		want(t, "after the agent's restart", w.exec.runningNames(), "a again")
		w.delete("uid-1", 5)
		w.after(10 * time.Second)
		want(t, "left", w.exec.runningNames(), "")
	})
}

// A person looks into a pod just because it does not start: neither an init container that goes on failing nor
// a crash loop keeps an ephemeral container from running.
func TestEphemeralContainerWaitsForNobody(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		if name == "i" {
			return behaviour{runs: time.Second, code: 1}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x:1"}}
		w.put(p)
		w.after(5 * time.Second)
		w.put(debugged(w.get("uid-1"), "look"))
		w.after(time.Second)
		want(t, "running", w.exec.runningNames(), "look")
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodPending)
	})
}

// It keeps no pod from its end, and its own failure is not the pod's.
func TestEphemeralContainerDoesNotDecideTheEnd(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		if name == "a" {
			return behaviour{runs: 10 * time.Second}
		}
		return behaviour{onTerm: time.Second}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.put(p)
		w.after(time.Second)
		w.put(debugged(w.get("uid-1"), "look"))
		w.after(30 * time.Second)
		got := w.get("uid-1")
		want(t, "phase", got.Status.Phase, corev1.PodSucceeded)
		want(t, "sandboxes left", len(w.exec.boxes), 0)
		want(t, "its state", brief(got.Status.EphemeralContainerStatuses[0]), "Completed")
	})
}

// An ephemeral container is confined as any other, by its pod's word or its own.
func TestEphemeralContainersAreConfined(t *testing.T) {
	seccomp := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	for _, c := range []struct {
		name    string
		pod     *corev1.PodSecurityContext
		own     *corev1.SecurityContext
		seccomp string // of what runs
		waits   string // the reason, if it cannot run
	}{
		{"nothing is said", nil, nil, "", ""},
		{"seccomp of the pod", &corev1.PodSecurityContext{SeccompProfile: seccomp}, nil, runtime.ProfileDefault, ""},
		{"seccomp of its own", nil, &corev1.SecurityContext{SeccompProfile: seccomp}, runtime.ProfileDefault, ""},
		{"privileged", &corev1.PodSecurityContext{SeccompProfile: seccomp}, &corev1.SecurityContext{Privileged: ptr.To(true)}, "", ""},
		{"a profile of AppArmor that is not loaded", nil, &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{
			Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To("peapod-test-nobody-has-it")}}, "", "CreateContainerConfigError"},
		{"root where that is forbidden", &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(7))},
			&corev1.SecurityContext{RunAsUser: ptr.To(int64(0))}, "", "CreateContainerConfigError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			live(t, nil, func(t *testing.T, w *world) {
				p := podOf("a")
				p.Spec.SecurityContext = c.pod
				w.put(p)
				w.after(time.Second)
				q := debugged(w.get("uid-1"), "look")
				q.Spec.EphemeralContainers[0].SecurityContext = c.own
				w.put(q)
				w.after(time.Second)
				got := w.get("uid-1").Status.EphemeralContainerStatuses[0].State
				if c.waits != "" {
					want(t, "it waits", got.Waiting != nil && got.Waiting.Reason == c.waits, true)
					return
				}
				want(t, "it runs", got.Running != nil, true)
				want(t, "seccomp", w.exec.specs["look"].Seccomp, c.seccomp)
			})
		})
	}
}
