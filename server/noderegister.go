package server

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// register makes or refreshes the caller's Node object.
func (s *Server) register(ctx context.Context, from rpc.Caller, q *wire.Register) (*wire.Registered, error) {
	network, err := s.meta.network()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	want := &corev1.Node{}
	if err := want.Unmarshal(q.Node); err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "the Node object: %v", err)
	}
	if !s.speaksFor(from.Peer, want.Name) {
		return nil, rpc.Errorf(rpc.CodeDenied, "%s may not register node %q", from.Peer, want.Name)
	}
	if from.Role == pki.RoleFleet && want.Labels[api.SimulatedLabel] != "true" {
		return nil, rpc.Errorf(rpc.CodeDenied, "%s has only nodes with label %s", from.Peer, api.SimulatedLabel)
	}
	if err := s.putNode(ctx, want); err != nil {
		return nil, err
	}
	return &wire.Registered{
		ServiceCIDR: network.ServiceCIDR.String(), ClusterCIDR: network.ClusterCIDR.String(), DNSAddress: network.DNSVIP().String(),
		ClusterDomain: network.Domain, Servers: s.meta.servers(), APIEndpoints: s.meta.apis(),
		ServiceCIDR6: prefixText(network.ServiceCIDR6), ClusterCIDR6: prefixText(network.ClusterCIDR6), DNSAddress6: addressText(network.DNSVIP6()),
	}, nil
}

// addressText is "" for no address.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// prefixText is "" for no prefix.
func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// nodeWriteTries bounds the races with the controllers that a registration may lose.
const nodeWriteTries = 8

func (s *Server) putNode(ctx context.Context, want *corev1.Node) error {
	for range nodeWriteTries {
		if err := s.store.Barrier(ctx); err != nil {
			return err
		}
		put := &ops.Put{Resource: nodesResource}
		if old, ok := s.state.Get(nodesResource, "", want.Name); ok {
			merged, changed := mergeNode(old.(*corev1.Node), want)
			if !changed {
				return nil
			}
			put.Object, put.Expect = merged, revisionOf(old)
		} else {
			put.Object, put.Expect = newNode(want, metav1.NewTime(s.now())), ops.Absent
		}
		results, err := s.store.Propose(ctx, put)
		if err != nil {
			return err
		}
		if results[0].OK() {
			return nil
		}
	}
	return rpc.Errorf(rpc.CodeUnavailable, "node %s is being changed by others; register again", want.Name)
}

func newNode(want *corev1.Node, now metav1.Time) *corev1.Node {
	n := want.DeepCopy()
	n.UID, n.CreationTimestamp, n.ResourceVersion, n.Generation = types.UID(uuid.NewUUID()), now, "", 0
	n.Spec.PodCIDR, n.Spec.PodCIDRs = "", nil
	return n
}

// mergeNode takes over what the node says of itself and keeps what others say of it: its labels and
// annotations are added to those that are there, conditions are replaced by type.
func mergeNode(old, want *corev1.Node) (*corev1.Node, bool) {
	n := old.DeepCopy()
	changed := mergeMap(&n.Labels, want.Labels)
	changed = mergeMap(&n.Annotations, want.Annotations) || changed
	conditions := n.Status.Conditions
	for _, c := range want.Status.Conditions {
		i := slices.IndexFunc(conditions, func(x corev1.NodeCondition) bool { return x.Type == c.Type })
		switch {
		case i < 0:
			conditions = append(conditions, c)
		case conditions[i].Status == c.Status && conditions[i].Reason == c.Reason, justRestarted(&conditions[i], &c):
		default:
			conditions[i] = c
		}
	}
	status := want.Status.DeepCopy()
	status.Conditions = conditions
	if status.VolumesAttached == nil {
		status.VolumesAttached = n.Status.VolumesAttached
	}
	keepDevices(&status.Capacity, old.Status.Capacity)
	keepDevices(&status.Allocatable, old.Status.Allocatable)
	n.Status = *status
	return n, changed || !apiEqual(&old.Status, status)
}

// keepDevices leaves the extended resources alone that others than the agent have given the node, as Kubernetes documents for people.
func keepDevices(now *corev1.ResourceList, old corev1.ResourceList) {
	for name, q := range old {
		if _, named := (*now)[name]; named || !api.ExtendedResource(name) {
			continue
		}
		if *now == nil {
			*now = corev1.ResourceList{}
		}
		(*now)[name] = q
	}
}

// justRestarted tells that a node which nobody has missed says that it is not ready yet: its agent was
// restarted, its pods run on, and they must not lose their endpoints for it.
func justRestarted(old, now *corev1.NodeCondition) bool {
	return now.Type == corev1.NodeReady && old.Status == corev1.ConditionTrue && now.Status == corev1.ConditionFalse
}

func mergeMap(into *map[string]string, from map[string]string) (changed bool) {
	for k, v := range from {
		if got, ok := (*into)[k]; ok && got == v {
			continue
		}
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[k], changed = v, true
	}
	return changed
}
