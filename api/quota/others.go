package quota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

func serviceNames(n corev1.ResourceName) bool {
	return slices.Contains([]corev1.ResourceName{corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}, n)
}

func serviceUsage(o runtime.Object) (corev1.ResourceList, error) {
	s, ok := o.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("%T is no service", o)
	}
	out := corev1.ResourceList{"count/services": one, corev1.ResourceServices: one}
	ports := int64(len(s.Spec.Ports))
	zero := *resource.NewQuantity(0, resource.DecimalSI)
	out[corev1.ResourceServicesNodePorts], out[corev1.ResourceServicesLoadBalancers] = zero, zero
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		out[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	case corev1.ServiceTypeLoadBalancer:
		out[corev1.ResourceServicesLoadBalancers] = one
		if s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts {
			out[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
		}
	}
	return out, nil
}

// ofClass is behind the name of a storage class in a quota's resource.
const ofClass = ".storageclass.storage.k8s.io/"

func claimNames(n corev1.ResourceName) bool {
	_, rest, classed := strings.Cut(string(n), ofClass)
	if classed {
		return rest == string(corev1.ResourceRequestsStorage) || rest == string(corev1.ResourcePersistentVolumeClaims)
	}
	return n == corev1.ResourcePersistentVolumeClaims || n == corev1.ResourceRequestsStorage
}

func claimUsage(o runtime.Object) (corev1.ResourceList, error) {
	c, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil, fmt.Errorf("%T is no claim", o)
	}
	out := corev1.ResourceList{"count/persistentvolumeclaims": one, corev1.ResourcePersistentVolumeClaims: one}
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if class != "" {
		out[corev1.ResourceName(class+ofClass)+corev1.ResourcePersistentVolumeClaims] = one
	}
	asked, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return out, nil
	}
	if has, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && has.Cmp(asked) > 0 {
		asked = has
	}
	out[corev1.ResourceRequestsStorage] = asked
	if class != "" {
		out[corev1.ResourceName(class+ofClass)+corev1.ResourceRequestsStorage] = asked
	}
	return out, nil
}
