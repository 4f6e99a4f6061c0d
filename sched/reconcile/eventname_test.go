package reconcile

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestEventsOfRolloutsAreKept: what `kubectl describe` tells of some rollouts, or of the pods of a small set, does not replace itself;
// pods by the thousand leave a few, and those that came last among them.
func TestEventsOfRolloutsAreKept(t *testing.T) {
	w := standardWorld(t, 1, 0)
	about := corev1.ObjectReference{Kind: "Deployment", Namespace: "default", Name: "web", UID: "1"}
	say := func(reason, message string) {
		w.now = w.now.Add(time.Second)
		w.e.say(about, corev1.EventTypeNormal, reason, "c", message)
		w.settle()
	}
	kept := func(reason string) map[string]int32 {
		out := map[string]int32{}
		for _, o := range w.list(Events) {
			if ev := o.obj.(*corev1.Event); ev.Reason == reason {
				out[ev.Message] = ev.Count
			}
		}
		return out
	}
	for i := range 10 {
		for n := range 3 {
			say("ScalingReplicaSet", fmt.Sprintf("Scaled up replica set web-%d from %d to %d", i, n, n+1))
		}
	}
	if n := len(kept("ScalingReplicaSet")); n < 29 {
		t.Errorf("%d of 30 events about rollouts are kept", n)
	}
	for i := range podEventSlots {
		say("SuccessfulCreate", fmt.Sprintf("Created pod: web-%d", i))
	}
	say("SuccessfulCreate", "Created pod: web-3")
	if got := kept("SuccessfulCreate"); len(got) != podEventSlots || got["Created pod: web-3"] != 2 {
		t.Errorf("%d events are kept about %d pods: %v", len(got), podEventSlots, got)
	}
	for i := range 100 {
		say("SuccessfulCreate", fmt.Sprintf("Created pod: more-%d", i))
	}
	got := kept("SuccessfulCreate")
	for i := 100 - podEventSlots; i < 100; i++ {
		if got[fmt.Sprintf("Created pod: more-%d", i)] != 1 {
			t.Errorf("the event about pod %d is not kept: %v", i, got)
		}
	}
}
