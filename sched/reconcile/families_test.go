package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func TestNodesGetNetworksOfBothFamilies(t *testing.T) {
	e := New(Config{Seed: 1, ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ClusterCIDR6: netip.MustParsePrefix("fd00:42::/48")})
	nodes := make([]*corev1.Node, 3)
	for i := range nodes {
		nodes[i] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}
		if !e.giveCIDR(nodes[i]) || e.giveCIDR(nodes[i]) {
			t.Fatal("a node gets networks once")
		}
	}
	if got := nodes[1].Spec; got.PodCIDR != "10.42.1.0/24" || !slices.Equal(got.PodCIDRs, []string{"10.42.1.0/24", "fd00:42:0:1::/64"}) {
		t.Fatalf("%s, %v", got.PodCIDR, got.PodCIDRs)
	}
	e.releaseCIDRs(nodes[1])
	again := &corev1.Node{}
	if e.giveCIDR(again); !slices.Equal(again.Spec.PodCIDRs, nodes[1].Spec.PodCIDRs) {
		t.Fatalf("what was released is not given again: %v", again.Spec.PodCIDRs)
	}
}

// A write that gave a node its network may fail after somebody has created a node with that very network: it is taken then.
func TestANetworkThatIsTakenIsNotGivenBack(t *testing.T) {
	e := New(Config{Seed: 1, ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16")})
	failed := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "failed"}}
	e.giveCIDR(failed)
	own := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "own", UID: "own"}, Spec: corev1.NodeSpec{PodCIDR: failed.Spec.PodCIDR}}
	e.Observe(&api.Change{Resource: Nodes, Name: own.Name, New: own})
	e.Failed(&ops.Put{Resource: Nodes, Object: failed}, 0, ops.Conflict)
	next := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "next"}}
	if e.giveCIDR(next); next.Spec.PodCIDR == own.Spec.PodCIDR {
		t.Errorf("two nodes have %s", own.Spec.PodCIDR)
	}
}
