package server

import (
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
)

// nodeMayRead says whether a pod of the node names the object: the node authorizer's rule.
func (s *Server) nodeMayRead(node string, gr schema.GroupResource, namespace, name string) bool {
	if nodeMayList[gr] {
		return true
	}
	if gr == fsm.Pods {
		p, ok := s.state.Pod(namespace, name)
		return ok && p.Node == node
	}
	for _, p := range s.state.PodsOfNode(node) {
		if p.Namespace() == namespace && podNames(p.Spec(), gr, name) {
			return true
		}
	}
	return false
}

// podNames says whether a pod's spec refers to the ConfigMap, Secret or ServiceAccount.
func podNames(spec *corev1.PodSpec, gr schema.GroupResource, name string) bool {
	switch gr.String() {
	case "configmaps":
		return name == "kube-root-ca.crt" || namesConfigMap(spec, name)
	case "secrets":
		return namesSecret(spec, name)
	case "serviceaccounts":
		return spec.ServiceAccountName == name
	}
	return false
}

func namesConfigMap(spec *corev1.PodSpec, name string) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		for _, p := range projections(v) {
			if p.ConfigMap != nil && p.ConfigMap.Name == name {
				return true
			}
		}
	}
	return anyContainer(spec, func(c *corev1.Container) bool {
		for _, f := range c.EnvFrom {
			if f.ConfigMapRef != nil && f.ConfigMapRef.Name == name {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

func namesSecret(spec *corev1.PodSpec, name string) bool {
	for _, r := range spec.ImagePullSecrets {
		if r.Name == name {
			return true
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.Secret != nil && v.Secret.SecretName == name {
			return true
		}
		for _, p := range projections(v) {
			if p.Secret != nil && p.Secret.Name == name {
				return true
			}
		}
	}
	return anyContainer(spec, func(c *corev1.Container) bool {
		for _, f := range c.EnvFrom {
			if f.SecretRef != nil && f.SecretRef.Name == name {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

func projections(v *corev1.Volume) []corev1.VolumeProjection {
	if v.Projected == nil {
		return nil
	}
	return v.Projected.Sources
}

func anyContainer(spec *corev1.PodSpec, is func(*corev1.Container) bool) bool {
	for i := range spec.InitContainers {
		if is(&spec.InitContainers[i]) {
			return true
		}
	}
	for i := range spec.Containers {
		if is(&spec.Containers[i]) {
			return true
		}
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		if is(&c) {
			return true
		}
	}
	return false
}

// nodeMayWrite allows a node its own pods' statuses and final deletions, and events.
func (s *Server) nodeMayWrite(node string, op ops.Op) error {
	switch o := op.(type) {
	case *ops.PodStatuses:
		for i := range o.Rows {
			if err := s.ownPod(node, o.Rows[i].Namespace, o.Rows[i].Name, o.Rows[i].UID); err != nil {
				return err
			}
		}
		return nil
	case *ops.DeletePods:
		for i := range o.Rows {
			if err := s.ownPod(node, o.Rows[i].Namespace, o.Rows[i].Name, o.Rows[i].UID); err != nil {
				return err
			}
		}
		return nil
	case *ops.Put:
		if _, ok := o.Object.(*corev1.Event); ok && o.Resource.String() == "events" {
			return nil
		}
		return fmt.Errorf("node %s may not write %s", node, o.Resource)
	}
	return fmt.Errorf("node %s may not propose a %T", node, op)
}

// ownPod allows pods that are gone, too, also if another pod has the name by now: the row will fail by itself. To refuse it would
// refuse all that the node says, for as long as it says it.
func (s *Server) ownPod(node, namespace, name string, uid types.UID) error {
	if p, ok := s.state.Pod(namespace, name); ok && p.Node != node && (uid == "" || uid == p.UID) {
		return fmt.Errorf("node %s may not write pod %s/%s, which is on another node", node, namespace, name)
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
