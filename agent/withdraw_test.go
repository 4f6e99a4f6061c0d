package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ends runs a pod on an agent whose Withdrawn is given, deletes it and returns when it got its signal; negative is never.
func ends(t *testing.T, grace int64, preStop int64, withdrawn func(context.Context, *corev1.Pod) error) (after time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newScripted(nil))
		defer w.close()
		w.agent.cfg.Withdrawn = withdrawn
		p := podOf("a")
		if preStop > 0 {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: preStop}}}
		}
		w.put(p)
		w.after(time.Second)
		began := time.Now()
		w.delete("uid-1", grace)
		for after = -1; time.Since(began) < time.Minute; w.after(50 * time.Millisecond) {
			if w.exec.signalled() != "" {
				after = time.Since(began)
				return
			}
		}
	})
	return after
}

// Invariant 115.
func TestSignalWaitsForTheServices(t *testing.T) {
	never := func(ctx context.Context, _ *corev1.Pod) error { <-ctx.Done(); return ctx.Err() }
	takes := func(d time.Duration) func(context.Context, *corev1.Pod) error {
		return func(ctx context.Context, _ *corev1.Pod) error { sleep(ctx, d); return ctx.Err() }
	}
	for _, c := range []struct {
		name           string
		grace, preStop int64
		withdrawn      func(context.Context, *corev1.Pod) error
		from, to       time.Duration
	}{
		{"no services", 30, 0, nil, 0, 100 * time.Millisecond},
		{"at once", 30, 0, takes(0), 0, 100 * time.Millisecond},
		{"confirmed", 30, 0, takes(500 * time.Millisecond), 500 * time.Millisecond, 600 * time.Millisecond},
		{"never confirmed", 30, 0, never, 2 * time.Second, 2100 * time.Millisecond},
		{"within the grace period", 1, 0, never, 450 * time.Millisecond, 600 * time.Millisecond},
		{"beside the hook", 30, 3, never, 3 * time.Second, 3100 * time.Millisecond},
		{"longer than the hook", 30, 1, takes(1500 * time.Millisecond), 1500 * time.Millisecond, 1600 * time.Millisecond},
	} {
		if got := ends(t, c.grace, c.preStop, c.withdrawn); got < c.from || got > c.to {
			t.Errorf("%s: the signal came after %v, want %v to %v", c.name, got, c.from, c.to)
		}
	}
}

// What the node itself restarts has left its services by its readiness, and is not waited for.
func TestRestartsDoNotWaitForTheServices(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		asked := 0
		w.agent.cfg.Withdrawn = func(context.Context, *corev1.Pod) error { asked++; return nil }
		w.put(podOf("a"))
		w.after(time.Second)
		p := podOf("a")
		p.Spec.Containers[0].Image = "img:2"
		w.agent.Put(p)
		w.after(time.Second)
		want(t, "signals", w.exec.signalled(), "a terminated")
		want(t, "questions", asked, 0)
	})
}
