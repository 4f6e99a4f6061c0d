package sched

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
)

func TestPlaceOnOneNode(t *testing.T) {
	table := NewTable(1, "")
	table.SetNode(testNode("a", "1"))
	table.SetNode(testNode("b", "1"))
	table.SetNode(testNode("tainted", "1", corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}))
	free := testTemplate(t, "600m", nil)
	own := testTemplate(t, "600m", func(p *corev1.Pod) { api.PinTo(&p.Spec, "") })
	const others = "2 node(s) didn't match Pod's node affinity/selector"
	for i, c := range []struct {
		template     *api.PodTemplate
		node, reason string
	}{
		{own, "a", ""},
		{own, "a", "0/3 nodes are available: 1 Insufficient cpu, " + others + "."},
		{free, "b", ""},
		{own, "b", "0/3 nodes are available: 1 Insufficient cpu, " + others + "."},
		{testTemplate(t, "1m", func(p *corev1.Pod) { api.PinTo(&p.Spec, "b") }), "b", ""},
		{own, "tainted", "0/3 nodes are available: 1 node(s) had untolerated taint(s), " + others + "."},
		{testTemplate(t, "1m", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"name": "a"} }), "b", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
		{own, "gone", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
	} {
		uid := uids(i + 1)[i]
		d := table.PlaceOn(c.template, uid, c.node)
		placed := c.reason == ""
		if d.Reason != c.reason || (d.Nodes[0] == c.node) != placed || (d.Placed == 1) != placed || (table.NodeOf(uid) == c.node) != placed {
			t.Errorf("%d: on %s: %+v, not %q", i, c.node, d, c.reason)
		}
	}
	if got := NewTable(1, "").PlaceOn(own, "x", "a").Reason; got != "no nodes available to schedule pods" {
		t.Error(got)
	}
}

// BenchmarkPlaceOn shows that the number of nodes does not matter.
func BenchmarkPlaceOn(b *testing.B) {
	for _, n := range []int{50, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := NewTable(1, "")
			for i := range n {
				table.SetNode(testNode(fmt.Sprint("n", i), "1000"))
			}
			own, list := testTemplate(b, "1m", func(p *corev1.Pod) { api.PinTo(&p.Spec, "") }), uids(n)
			for b.Loop() {
				for i := range 50 {
					table.PlaceOn(own, list[i], table.names[i])
					table.RemovePod(list[i])
				}
			}
		})
	}
}
