package server

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

var (
	claimsResource  = schema.GroupResource{Resource: "persistentvolumeclaims"}
	volumesResource = schema.GroupResource{Resource: "persistentvolumes"}
)

// namesClaim says whether a pod has a volume of that claim.
func namesClaim(podName string, spec *corev1.PodSpec, claim string) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim || v.Ephemeral != nil && podName+"-"+v.Name == claim {
			return true
		}
	}
	return false
}

// volumeOfNode says whether a volume is a directory of the node, or bound to a claim that one of the node's pods names.
func (s *Server) volumeOfNode(node, name string) bool {
	o, ok := s.state.Get(volumesResource, "", name)
	if !ok {
		return false
	}
	v := o.(*corev1.PersistentVolume)
	if api.LocalPathNode(v) == node {
		return true
	}
	r := v.Spec.ClaimRef
	if r == nil {
		return false
	}
	for _, p := range s.state.PodsOfNode(node) {
		if p.Namespace() == r.Namespace && namesClaim(p.Name, p.Spec(), r.Name) {
			return true
		}
	}
	return false
}

// endsOwnVolume allows a node to remove the object of a volume whose directory it was told to remove, and nothing else. One that is gone
// is allowed, too: the op will fail by itself.
func (s *Server) endsOwnVolume(node string, op *ops.Delete) error {
	if op.Resource != volumesResource {
		return fmt.Errorf("node %s may not delete %s", node, op.Resource)
	}
	o, ok := s.state.Get(volumesResource, "", op.Name)
	if !ok {
		return nil
	}
	if v := o.(*corev1.PersistentVolume); !api.LocalPathDoomed(v) || api.LocalPathNode(v) != node || v.UID != op.UID {
		return fmt.Errorf("node %s may not remove volume %s", node, op.Name)
	}
	return nil
}

// tellsNode says whether a node's watch shows a change: all of the tables that every node reads, and of the volumes its own.
func tellsNode(node string, c *api.Change) bool {
	if c.Resource != volumesResource {
		return true
	}
	for _, o := range []any{c.Old, c.New} {
		if v, ok := o.(*corev1.PersistentVolume); ok && v != nil && api.LocalPathNode(v) == node {
			return true
		}
	}
	return false
}
