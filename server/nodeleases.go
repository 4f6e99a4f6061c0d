package server

import (
	"strconv"
	"time"

	"github.com/google/uuid"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/server/kube"
)

const (
	leaseNamespace = "kube-node-lease"
	// leaseSeconds is the whole number of seconds after which a silent node is dead.
	leaseSeconds = 2
)

var leasesResource = schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}

// leasedStore shows each node's heartbeat as the Lease that Kubernetes has for it. A heartbeat is heard by every server and
// written nowhere, so these leases are made when they are read: they can be got and listed, and a watch shows what the list did.
type leasedStore struct {
	*store
	heard func(node string) (time.Time, bool) // the last heartbeat
}

// Get implements kube.Store.
func (s *leasedStore) Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool) {
	o, found := s.store.Get(gr, namespace, name)
	if found || gr != leasesResource || namespace != leaseNamespace {
		return o, found
	}
	node, exists := s.state.Get(nodesResource, "", name)
	if !exists {
		return nil, false
	}
	if lease := s.lease(node.(*corev1.Node), s.Revision()); lease != nil {
		return lease, true
	}
	return nil, false
}

// Snapshot implements kube.Store.
func (s *leasedStore) Snapshot(gr schema.GroupResource) kube.Snapshot {
	real := s.store.Snapshot(gr)
	if gr != leasesResource {
		return real
	}
	view := &leaseView{Snapshot: real}
	s.state.Table(nodesResource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		if lease := s.lease(o.(*corev1.Node), real.Revision()); lease != nil {
			view.nodes = append(view.nodes, lease)
		}
		return true
	})
	return view
}

// lease is nil for a node that this server has not heard of.
func (s *leasedStore) lease(node *corev1.Node, revision uint64) *coordinationv1.Lease {
	at, heard := s.heard(node.Name)
	if !heard {
		return nil
	}
	renewed, seconds := metav1.NewMicroTime(at), int32(leaseSeconds)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: leaseNamespace, CreationTimestamp: node.CreationTimestamp,
			UID:             types.UID(uuid.NewSHA1(uuid.NameSpaceOID, []byte("lease/"+string(node.UID))).String()),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	}
	lease.ResourceVersion = strconv.FormatUint(revision, 10)
	return lease
}

// leaseView merges the nodes' leases into those that were written.
type leaseView struct {
	kube.Snapshot
	nodes []*coordinationv1.Lease // by name
}

// Len implements kube.Snapshot.
func (v *leaseView) Len() int { return v.Snapshot.Len() + len(v.nodes) }

// Ascend implements kube.Snapshot. A lease that somebody wrote under a node's name hides the node's.
func (v *leaseView) Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool) {
	rest := v.nodes
	for len(rest) > 0 && before(leaseNamespace, rest[0].Name, namespace, name) {
		rest = rest[1:]
	}
	more := true
	v.Snapshot.Ascend(namespace, name, func(ns, n string, o runtime.Object) bool {
		for more && len(rest) > 0 && before(leaseNamespace, rest[0].Name, ns, n) {
			more = yield(leaseNamespace, rest[0].Name, rest[0])
			rest = rest[1:]
		}
		if len(rest) > 0 && ns == leaseNamespace && rest[0].Name == n {
			rest = rest[1:]
		}
		more = more && yield(ns, n, o)
		return more
	})
	for ; more && len(rest) > 0; rest = rest[1:] {
		more = yield(leaseNamespace, rest[0].Name, rest[0])
	}
}

// before is the order of keys.
func before(ns1, name1, ns2, name2 string) bool {
	return ns1 < ns2 || ns1 == ns2 && name1 < name2
}
