package server

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/nodeauth"
)

// nodeMayGet are objects without a secret that nodes read by name: trust anchors, and how pods are to be run.
var nodeMayGet = map[schema.GroupResource]bool{
	{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}: true,
	{Group: "node.k8s.io", Resource: "runtimeclasses"}:              true,
}

// nodeState is what decides what kubelets may do that are clients of the API.
type nodeState struct {
	*fsm.FSM
	store interface{ Barrier(context.Context) error }
}

// Barrier implements nodeauth.State.
func (s nodeState) Barrier(ctx context.Context) error { return s.store.Barrier(ctx) }

// nodeMayRead says whether a pod of the node names the object: the node authorizer's rule.
func (s *Server) nodeMayRead(node string, gr schema.GroupResource, namespace, name string) bool {
	if nodeMayList[gr] || nodeMayGet[gr] {
		return true
	}
	if gr == fsm.Pods {
		p, ok := s.state.Pod(namespace, name)
		return ok && p.Node == node
	}
	if gr == volumesResource {
		return s.volumeOfNode(node, name)
	}
	for _, p := range s.state.PodsOfNode(node) {
		if p.Namespace() == namespace && (nodeauth.Names(p.Spec(), gr, name) || gr == claimsResource && namesClaim(p.Name, p.Spec(), name)) {
			return true
		}
	}
	return false
}

// nodeMayWrite allows a node its own pods' statuses and final deletions, those of its own volumes, and events.
func (s *Server) nodeMayWrite(node string, op ops.Op) error {
	switch o := op.(type) {
	case *ops.PodStatuses, *ops.DeletePods:
		return s.ownPods(func(n string) bool { return n == node }, op)
	case *ops.Delete:
		return s.endsOwnVolume(node, o)
	case *ops.Put:
		if _, ok := o.Object.(*corev1.Event); ok && o.Resource.String() == "events" {
			return nil
		}
		return fmt.Errorf("node %s may not write %s", node, o.Resource)
	}
	return fmt.Errorf("node %s may not propose a %T", node, op)
}

// ownPods allows statuses and deletions of pods on the agent's own nodes.
func (s *Server) ownPods(own func(node string) bool, op ops.Op) error {
	switch o := op.(type) {
	case *ops.PodStatuses:
		for i := range o.Rows {
			if err := s.ownPod(own, o.Rows[i].Namespace, o.Rows[i].Name, o.Rows[i].UID); err != nil {
				return err
			}
		}
	case *ops.DeletePods:
		for i := range o.Rows {
			if err := s.ownPod(own, o.Rows[i].Namespace, o.Rows[i].Name, o.Rows[i].UID); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownPod allows pods that are gone, too, also if another pod has the name by now: the row will fail by itself. To refuse it would
// refuse all that the node says, for as long as it says it.
func (s *Server) ownPod(own func(node string) bool, namespace, name string, uid types.UID) error {
	if p, ok := s.state.Pod(namespace, name); ok && !own(p.Node) && (uid == "" || uid == p.UID) {
		return fmt.Errorf("pod %s/%s is on node %q, and only that may write of it", namespace, name, p.Node)
	}
	return nil
}

func revisionOf(obj runtime.Object) uint64 {
	m, err := meta.Accessor(obj)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
	return n
}

func apiEqual(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
