package reconcile

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEventsOfRolloutsAreKept: what `kubectl describe` tells of some rollouts does not replace itself, and pods by the thousand leave a few.
func TestEventsOfRolloutsAreKept(t *testing.T) {
	about := &corev1.ObjectReference{Kind: "Deployment", Name: "web", UID: "1"}
	scaled, pods := map[string]bool{}, map[string]bool{}
	for i := range 10 {
		for n := range 3 {
			scaled[eventName(about, "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set web-%d from %d to %d", i, n, n+1))] = true
		}
	}
	for i := range 1000 {
		pods[eventName(about, "SuccessfulCreate", fmt.Sprintf("Created pod: web-%d", i))] = true
	}
	if len(scaled) < 29 || len(pods) != podEventSlots {
		t.Errorf("%d of 30 events about rollouts are kept, and %d of 1000 about pods", len(scaled), len(pods))
	}
}
