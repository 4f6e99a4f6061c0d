package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// brief is a container's state in a few words.
func brief(cs corev1.ContainerStatus) string {
	s := "running"
	if w := cs.State.Waiting; w != nil {
		s = w.Reason
	}
	if e := cs.State.Terminated; e != nil {
		s = e.Reason
	}
	if cs.LastTerminationState.Terminated != nil {
		s += " after " + cs.LastTerminationState.Terminated.Reason
	}
	return s
}

func isTrueCondition(p *corev1.Pod, kind corev1.PodConditionType) bool {
	c := findCondition(p.Status.Conditions, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

func TestPodStartsAndIsReady(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.put(podOf("a", "b"))
		w.after(time.Second)
		p := w.get("uid-1")
		want(t, "phase", p.Status.Phase, corev1.PodRunning)
		want(t, "podIP", p.Status.PodIP, "10.1.0.7")
		want(t, "hostIP", p.Status.HostIP, "192.0.2.1")
		want(t, "QoS", p.Status.QOSClass, corev1.PodQOSBestEffort)
		want(t, "observed", p.Status.ObservedGeneration, 1)
		for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodScheduled, corev1.PodReadyToStartContainers} {
			want(t, string(kind), isTrueCondition(p, kind), true)
		}
		want(t, "id", p.Status.ContainerStatuses[0].ContainerID, idPrefix+containerID("uid-1", "a", 0))
		want(t, "image ID", p.Status.ContainerStatuses[0].ImageID, "img:1@sha256:0")
		want(t, "rows written", w.rows, 1)
		for _, r := range []string{"Pulled", "Created", "Started"} {
			want(t, "event "+r, strings.Contains(w.reasons(), r), true)
		}
		w.after(time.Hour)
		want(t, "rows written in an idle hour", w.rows, 1)
	})
}

func TestCrashLoop(t *testing.T) {
	crash := func(string, int) behaviour { return behaviour{runs: time.Second, code: 1} }
	live(t, crash, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(1500 * time.Millisecond) // one crash: started again at once
		cs := w.get("uid-1").Status.ContainerStatuses[0]
		want(t, "after the first crash", brief(cs), "running after Error")
		w.after(time.Second) // the second crash: waits 10 s
		cs = w.get("uid-1").Status.ContainerStatuses[0]
		want(t, "after the second crash", brief(cs), "CrashLoopBackOff after Error")
		want(t, "message", cs.State.Waiting.Message, "back-off 10s restarting failed container=a pod=web_default(uid-1)")
		want(t, "restarts", cs.RestartCount, 1)
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodRunning)
		w.after(10 * time.Second)
		want(t, "restarts", w.get("uid-1").Status.ContainerStatuses[0].RestartCount, 2)
		w.after(time.Hour)
		// 10+20+40+80+160 s, then 5 min each: 4+4+... starts in an hour.
		n := w.get("uid-1").Status.ContainerStatuses[0].RestartCount
		want(t, "restarts in an hour are bounded", n > 12 && n < 20, true)
		want(t, "event", strings.Contains(w.reasons(), "BackOff"), true)
	})
}

func TestBackOffIsForgottenAfterTenMinutes(t *testing.T) {
	script := func(_ string, attempt int) behaviour {
		if attempt == 3 {
			return behaviour{runs: 11 * time.Minute, code: 1}
		}
		return behaviour{runs: time.Second, code: 1}
	}
	live(t, script, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Minute) // crashes at 1, 2, 13; runs at 34
		want(t, "restarts", w.get("uid-1").Status.ContainerStatuses[0].RestartCount, 3)
		w.after(11 * time.Minute)
		want(t, "restarted at once, then waits 10 s only", w.get("uid-1").Status.ContainerStatuses[0].RestartCount >= 4, true)
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		policy corev1.RestartPolicy
		code   int
		phase  corev1.PodPhase
		reason string
	}{
		{corev1.RestartPolicyNever, 0, corev1.PodSucceeded, "Completed"},
		{corev1.RestartPolicyNever, 3, corev1.PodFailed, "Error"},
		{corev1.RestartPolicyOnFailure, 0, corev1.PodSucceeded, "Completed"},
		{corev1.RestartPolicyOnFailure, 3, corev1.PodRunning, "CrashLoopBackOff after Error"},
		{corev1.RestartPolicyAlways, 0, corev1.PodRunning, "CrashLoopBackOff after Completed"},
	} {
		t.Run(string(c.policy)+c.reason, func(t *testing.T) {
			live(t, func(string, int) behaviour { return behaviour{runs: time.Second, code: c.code} }, func(t *testing.T, w *world) {
				p := podOf("a")
				p.Spec.RestartPolicy = c.policy
				w.put(p)
				w.after(5 * time.Second)
				got := w.get("uid-1")
				want(t, "phase", got.Status.Phase, c.phase)
				want(t, "state", brief(got.Status.ContainerStatuses[0]), c.reason)
				if c.phase != corev1.PodRunning {
					want(t, "sandboxes left", len(w.exec.boxes), 0)
				}
			})
		})
	}
}

func TestInitContainersRunInOrder(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		switch name {
		case "i1":
			return behaviour{runs: 2 * time.Second, code: 1 - min(1, attempt)} // fails once
		case "i2":
			return behaviour{runs: 2 * time.Second}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a")
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{Name: "i1", Image: "x"}, {Name: "side", Image: "x", RestartPolicy: &always}, {Name: "i2", Image: "x"}}
		w.put(p)
		w.after(time.Second)
		want(t, "running", w.exec.runningNames(), "i1")
		got := w.get("uid-1")
		want(t, "main waits", brief(got.Status.ContainerStatuses[0]), "PodInitializing")
		want(t, "initialized", isTrueCondition(got, corev1.PodInitialized), false)
		w.after(4 * time.Second)
		want(t, "running", w.exec.runningNames(), "side i2")
		w.after(2 * time.Second)
		want(t, "running", w.exec.runningNames(), "side a")
		got = w.get("uid-1")
		want(t, "phase", got.Status.Phase, corev1.PodRunning)
		want(t, "ready", isTrueCondition(got, corev1.PodReady), true)
		want(t, "i1", brief(got.Status.InitContainerStatuses[0]), "Completed after Error")
		w.delete("uid-1", 30)
		w.after(time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated, side terminated")
		want(t, "gone", w.get("uid-1") == nil, true)
	})
}

func TestGracefulDeletion(t *testing.T) {
	stubborn := func(string, int) behaviour { return behaviour{onTerm: -1} }
	live(t, stubborn, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.delete("uid-1", 30)
		w.after(29 * time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated")
		want(t, "still there", w.get("uid-1") != nil, true)
		w.after(2 * time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated, a killed")
		want(t, "gone", w.get("uid-1") == nil, true)
		want(t, "sandboxes left", len(w.exec.boxes), 0)
	})
}

func TestGraceShortened(t *testing.T) {
	live(t, func(string, int) behaviour { return behaviour{onTerm: -1} }, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.delete("uid-1", 300)
		w.after(10 * time.Second)
		w.delete("uid-1", 5)
		w.after(4 * time.Second)
		want(t, "still there", w.get("uid-1") != nil, true)
		w.after(2 * time.Second)
		want(t, "gone", w.get("uid-1") == nil, true)
	})
}

func TestCountdownGoesOnAfterAnAgentRestart(t *testing.T) {
	live(t, func(string, int) behaviour { return behaviour{onTerm: -1} }, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.delete("uid-1", 30)
		w.after(20 * time.Second)
		w.stop()
		w.after(5 * time.Second)
		w.boot()
		w.after(4 * time.Second)
		want(t, "still there", w.get("uid-1") != nil, true)
		w.after(2 * time.Second)
		want(t, "gone", w.get("uid-1") == nil, true)
	})
}

// TestAgentRestartRestartsNothing: Invariant 21.
func TestAgentRestartRestartsNothing(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		if name == "crasher" && attempt < 2 {
			return behaviour{runs: time.Second, code: 7}
		}
		if name == "brief" {
			return behaviour{runs: time.Minute, code: 4}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		w.put(podOf("a", "crasher", "brief"))
		w.after(30 * time.Second)
		before := w.get("uid-1")
		w.stop()
		w.after(time.Second)
		w.boot()
		w.after(time.Second)
		after := w.get("uid-1")
		want(t, "starts", len(w.exec.starts), 5)
		for i := range before.Status.ContainerStatuses {
			b, a := before.Status.ContainerStatuses[i], after.Status.ContainerStatuses[i]
			want(t, b.Name+" restarts", a.RestartCount, b.RestartCount)
			want(t, b.Name+" id", a.ContainerID, b.ContainerID)
			want(t, b.Name+" started at", a.State.Running.StartedAt, b.State.Running.StartedAt)
		}
		want(t, "start time", *after.Status.StartTime, *before.Status.StartTime)
		want(t, "ready since", findCondition(after.Status.Conditions, corev1.PodReady).LastTransitionTime,
			findCondition(before.Status.Conditions, corev1.PodReady).LastTransitionTime)
		w.stop()
		w.after(time.Minute) // brief ends while no agent runs
		w.boot()
		w.after(time.Second)
		cs := w.get("uid-1").Status.ContainerStatuses[2]
		want(t, "restarts", cs.RestartCount, 1)
		want(t, "exit code", cs.LastTerminationState.Terminated.ExitCode, 4)
	})
}

func TestOrphansAreRemoved(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.put(podOf("a"))
		w.after(time.Second)
		w.stop()
		delete(w.pods, "uid-1")
		w.boot()
		w.after(5 * time.Second)
		want(t, "sandboxes left", len(w.exec.boxes), 0)
		want(t, "pods known", len(w.agent.Pods()), 0)
	})
}

func TestPreStopHookGoesFirst(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
		w.put(p)
		w.after(time.Second)
		w.delete("uid-1", 30)
		w.after(4 * time.Second)
		want(t, "signals", w.exec.signalled(), "")
		w.after(2 * time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated")
		want(t, "gone", w.get("uid-1") == nil, true)
	})
}

func TestPreStopHookThatHangsEndsWithTheGracePeriod(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p := podOf("a")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 500}}}
		w.put(p)
		w.after(time.Second)
		w.delete("uid-1", 10)
		w.after(13 * time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated")
		want(t, "gone", w.get("uid-1") == nil, true)
	})
}

// What somebody else wrote as a pod's end is final, as in Kubernetes: the node stops the pod and keeps the phase and its reason, also if the
// agent was away when it was written, or goes away before the pod has ended.
func TestAPhaseThatOthersDecreed(t *testing.T) {
	stubborn := func(string, int) behaviour { return behaviour{onTerm: 10 * time.Second} }
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		for _, away := range []string{"", "before", "after"} {
			t.Run(fmt.Sprint(phase, " away ", away), func(t *testing.T) {
				live(t, stubborn, func(t *testing.T, w *world) {
					w.put(podOf("a"))
					w.after(time.Second)
					p := w.get("uid-1").DeepCopy()
					p.Status.Phase, p.Status.Reason, p.Status.Message = phase, "", ""
					if phase == corev1.PodFailed {
						p.Status.Reason, p.Status.Message = "Decreed", "for the test"
					}
					if away == "before" {
						w.stop()
					}
					w.put(p)
					if away == "before" {
						w.boot()
					}
					w.after(time.Second)
					if away == "after" {
						w.stop()
						w.boot()
						w.after(time.Second)
					}
					want(t, "told to end", strings.HasPrefix(w.exec.signalled(), "a terminated"), true)
					st := w.get("uid-1").Status
					want(t, "phase at once", st.Phase, phase)
					want(t, "ready", findCondition(st.Conditions, corev1.PodReady).Status, corev1.ConditionFalse)
					want(t, "still runs", st.ContainerStatuses[0].State.Running != nil, true)
					w.after(time.Minute)
					st = w.get("uid-1").Status
					want(t, "status", fmt.Sprint(st.Phase, st.Reason, st.Message), fmt.Sprint(phase, p.Status.Reason, p.Status.Message))
					want(t, "container ended", st.ContainerStatuses[0].State.Terminated != nil, true)
					want(t, "running", w.exec.runningNames(), "")
				})
			})
		}
	}
}

func TestActiveDeadline(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p, s := podOf("a"), int64(60)
		p.Spec.ActiveDeadlineSeconds = &s
		w.put(p)
		w.after(59 * time.Second)
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodRunning)
		w.after(2 * time.Second)
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodFailed)
		want(t, "reason", w.get("uid-1").Status.Reason, "DeadlineExceeded")
	})
}

func TestProbesRuleReadinessAndRestarts(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		begin := time.Now()
		w.exec.execs = func(args []string) (int, error) {
			age := time.Since(begin)
			switch args[0] {
			case "ready":
				if age < 20*time.Second {
					return 1, nil
				}
			case "live":
				if age > time.Minute {
					return 1, nil
				}
			}
			return 0, nil
		}
		exec := func(cmd string) *corev1.Probe {
			return &corev1.Probe{PeriodSeconds: 5, FailureThreshold: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}}
		}
		p := podOf("a")
		p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe = exec("ready"), exec("live")
		w.put(p)
		w.after(15 * time.Second)
		want(t, "ready", isTrueCondition(w.get("uid-1"), corev1.PodReady), false)
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodRunning)
		w.after(10 * time.Second)
		want(t, "ready", isTrueCondition(w.get("uid-1"), corev1.PodReady), true)
		w.after(50 * time.Second)
		want(t, "restarts", w.get("uid-1").Status.ContainerStatuses[0].RestartCount >= 1, true)
		want(t, "event", strings.Contains(w.reasons(), "Unhealthy"), true)
	})
}

func TestStatusesSurviveAnAbsentControlPlane(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.down = true
		w.put(podOf("a"))
		w.after(time.Minute)
		want(t, "running without servers", w.exec.runningNames(), "a")
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		w.after(3 * time.Second)
		want(t, "phase", w.get("uid-1").Status.Phase, corev1.PodRunning)
	})
}

// What others do once a pod has succeeded, such as reading its logs or deleting what it used, may only be done when nothing of
// it runs any more.
func TestAPodHasNotEndedWhileASidecarRuns(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		if name == "a" {
			return behaviour{runs: 5 * time.Second}
		}
		return behaviour{onTerm: 10 * time.Second}
	}
	live(t, script, func(t *testing.T, w *world) {
		p := podOf("a")
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "side", Image: "x:1", RestartPolicy: &always}}
		w.put(p)
		w.after(8 * time.Second)
		want(t, "running", w.exec.runningNames(), "side")
		want(t, "phase while the sidecar ends", w.get("uid-1").Status.Phase, corev1.PodRunning)
		w.after(10 * time.Second)
		got := w.get("uid-1")
		want(t, "phase", got.Status.Phase, corev1.PodSucceeded)
		want(t, "why it is not ready", findCondition(got.Status.Conditions, corev1.PodReady).Reason, "PodCompleted")
	})
}
