package server

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// A fleet speaks for the nodes of its name and a number, and never for a real node.
func TestAFleetSpeaksForItsOwn(t *testing.T) {
	s := &Server{state: fsm.New()}
	node := func(name string, labels map[string]string) ops.Op {
		return &ops.Put{Resource: nodesResource, Expect: ops.Any, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}}
	}
	simulated := map[string]string{api.SimulatedLabel: "true"}
	s.state.ApplyOps(1, []ops.Op{node("sim-1", simulated), node("sim-2", nil), node("other-1", simulated)})
	s.state.ApplyOps(2, []ops.Op{
		&ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
			Created: 1, Rows: []ops.PlanRow{{Suffix: "own", UID: "u1", Node: "sim-1"}, {Suffix: "real", UID: "u2", Node: "sim-2"}, {Suffix: "other", UID: "u3", Node: "other-1"}}}})
	fleet, real := pki.Peer{Role: pki.RoleFleet, Name: "sim"}, pki.Peer{Role: pki.RoleNode, Name: "sim-2"}
	for name, want := range map[string]bool{"sim-1": true, "sim-3": true, "sim-2": false, "sim": false, "sim-": false, "sim-01": false, "sim-0": false, "sim-x": false, "other-1": false} {
		if got := s.speaksFor(fleet, name); got != want {
			t.Errorf("the fleet speaks for %s: %v", name, got)
		}
	}
	if !s.speaksFor(real, "sim-2") || s.speaksFor(real, "sim-1") {
		t.Error("a node speaks for itself alone")
	}
	for pod, want := range map[string]bool{"own": true, "real": false, "other": false, "gone": true} {
		op := &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "p-" + pod}}}
		if got := s.agentMayWrite(fleet, op) == nil; got != want {
			t.Errorf("the fleet may report pod %s: %v", pod, got)
		}
	}
	if s.agentMayWrite(fleet, node("sim-1", nil)) == nil {
		t.Error("a fleet may write a Node")
	}
	names, err := nodesOf(fleet, []wire.Numbers{{First: 1, Last: 2}, {First: 9, Last: 9}})
	if err != nil || len(names) != 3 || names[2] != "sim-9" {
		t.Errorf("%v, %v", names, err)
	}
	for _, bad := range []wire.Numbers{{First: 0, Last: 3}, {First: 3, Last: 2}, {First: 1, Last: fleetNodesMax + 1}, {First: 1, Last: 1 << 62}} {
		if _, err := nodesOf(fleet, []wire.Numbers{bad}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
