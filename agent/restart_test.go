package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func ruled(action corev1.ContainerRestartRuleAction, codes ...int32) []corev1.ContainerRestartRule {
	return []corev1.ContainerRestartRule{{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
		Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: codes}}}
}

func TestAContainersOwnRestartPolicy(t *testing.T) {
	never, always := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyAlways
	for _, c := range []struct {
		name     string
		pod      corev1.RestartPolicy
		own      *corev1.ContainerRestartPolicy
		rules    []corev1.ContainerRestartRule
		code     int
		restarts bool
	}{
		{"never in a pod that is always restarted", corev1.RestartPolicyAlways, &never, nil, 1, false},
		{"always in a pod that is never restarted", corev1.RestartPolicyNever, &always, nil, 0, true},
		{"a rule for the code", corev1.RestartPolicyNever, &never, ruled(corev1.ContainerRestartRuleActionRestart, 42), 42, true},
		{"a rule for another code", corev1.RestartPolicyNever, &never, ruled(corev1.ContainerRestartRuleActionRestart, 42), 41, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := func(name string, attempt int) behaviour {
				if name == "a" && attempt == 0 {
					return behaviour{runs: time.Second, code: c.code}
				}
				return behaviour{}
			}
			live(t, script, func(t *testing.T, w *world) {
				p := podOf("a", "b")
				p.Spec.RestartPolicy = c.pod
				p.Spec.Containers[0].RestartPolicy, p.Spec.Containers[0].RestartPolicyRules = c.own, c.rules
				w.put(p)
				w.after(time.Minute)
				got := w.get("uid-1")
				want(t, "restarted", got.Status.ContainerStatuses[0].RestartCount == 1, c.restarts)
				want(t, "phase", got.Status.Phase, corev1.PodRunning)
			})
		})
	}
}

// All containers start over, init containers first, in the same sandbox; ephemeral ones run on.
func TestRestartAllContainers(t *testing.T) {
	var order []string
	script := func(name string, attempt int) behaviour {
		order = append(order, name)
		switch {
		case name == "i":
			return behaviour{runs: time.Second}
		case name == "a" && attempt == 0:
			return behaviour{runs: 10 * time.Second, code: 77}
		}
		return behaviour{onTerm: time.Second}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a", "b")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x:1"}}
		never := corev1.ContainerRestartPolicyNever
		p.Spec.Containers[0].RestartPolicy = &never
		p.Spec.Containers[0].RestartPolicyRules = ruled(corev1.ContainerRestartRuleActionRestartAllContainers, 77)
		w.put(p)
		w.after(5 * time.Second)
		w.put(debugged(w.get("uid-1"), "look"))
		w.after(6500 * time.Millisecond) // a has ended at 11 s, b ends at 12 s
		want(t, "while they end", isTrueCondition(w.get("uid-1"), corev1.AllContainersRestarting), true)
		w.stop()
		w.boot() // the agent is killed in the middle
		w.after(10 * time.Second)
		got := w.get("uid-1")
		want(t, "order", strings.Join(order, " "), "i a b look i a b")
		want(t, "phase", got.Status.Phase, corev1.PodRunning)
		want(t, "afterwards", isTrueCondition(got, corev1.AllContainersRestarting), false)
		want(t, "last end", brief(got.Status.ContainerStatuses[0]), "running after Error")
		want(t, "restarts of the init container", got.Status.InitContainerStatuses[0].RestartCount, 1)
		want(t, "the ephemeral one", brief(got.Status.EphemeralContainerStatuses[0]), "running")
	})
}

// A machine that was restarted has no sandbox any more: the pod begins again with its init containers.
func TestInitContainersRunAgainAfterAReboot(t *testing.T) {
	var order []string
	script := func(name string, attempt int) behaviour {
		order = append(order, name)
		if name == "i" {
			return behaviour{runs: time.Second}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x:1"}}
		w.put(p)
		w.after(5 * time.Second)
		w.stop()
		w.exec.reboot()
		w.boot()
		w.after(time.Minute)
		want(t, "order", strings.Join(order, " "), "i a i a")
		want(t, "Ready", isTrueCondition(w.get("uid-1"), corev1.PodReady), true)
	})
}

// An agent that dies between a sandbox's making and its link leaves half of it. The next one makes it whole before it starts
// anything in it, and removes it if the pod is deleted first.
func TestHalfASandboxIsMadeWhole(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		script := func(string, int) behaviour { return behaviour{} }
		live(t, script, func(t *testing.T, w *world) {
			w.attach = func(context.Context) error { return errors.New("killed here") }
			w.put(podOf("a"))
			w.after(time.Millisecond)
			w.stop()
			want(t, "sandboxes", len(w.exec.boxes), 1)
			w.attach = nil
			if deleted {
				w.delete("uid-1", 0)
			}
			w.boot()
			w.after(time.Minute)
			if deleted {
				want(t, "sandboxes left", len(w.exec.boxes), 0)
				return
			}
			want(t, "attached", w.attached["uid-1"], true)
			want(t, "address", w.get("uid-1").Status.PodIP, "10.1.0.7")
			want(t, "Ready", isTrueCondition(w.get("uid-1"), corev1.PodReady), true)
		})
	}
}

// What an attempt at a sandbox that failed has left goes with the pod.
func TestHalfASandboxIsRemoved(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.attach = func(context.Context) error { return errors.New("no address is free") }
		w.put(podOf("a"))
		w.after(time.Second)
		want(t, "sandboxes", len(w.exec.boxes), 1)
		w.delete("uid-1", 1)
		w.after(time.Minute)
		want(t, "sandboxes left", len(w.exec.boxes), 0)
		want(t, "known", w.get("uid-1") == nil, true)
	})
}
