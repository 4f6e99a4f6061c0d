package kube

import (
	"cmp"
	"context"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	namespacesResource      = schema.GroupResource{Resource: "namespaces"}
	podsResource            = schema.GroupResource{Resource: "pods"}
	servicesResource        = schema.GroupResource{Resource: "services"}
	claimsResource          = schema.GroupResource{Resource: "persistentvolumeclaims"}
	limitRangesResource     = schema.GroupResource{Resource: "limitranges"}
	quotasResource          = schema.GroupResource{Resource: "resourcequotas"}
	priorityClassesResource = schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
	runtimeClassesResource  = schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"}
	storageClassesResource  = schema.GroupResource{Group: storagev1.GroupName, Resource: "storageclasses"}
	ingressClassesResource  = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}
	addressesResource       = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ipaddresses"}
	serviceRangesResource   = schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}
	budgetsResource         = schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"}
	ingressesResource       = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingresses"}
)

// Facts is what admission reads of the cluster: of the replicated state for a request, of the engine's model for a controller's pod.
// Nothing that it gives may be changed.
type Facts interface {
	// Object finds an object; nil if there is none.
	Object(gr schema.GroupResource, namespace, name string) runtime.Object
	// Objects lists what there is in a namespace, or of a kind that has none, by name.
	Objects(gr schema.GroupResource, namespace string) []runtime.Object
}

// factsOf are the facts of one kind.
func factsOf[T runtime.Object](f Facts, gr schema.GroupResource, namespace string) (out []T) {
	for _, o := range f.Objects(gr, namespace) {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// state is the local state as the source of facts. It may be behind the cluster's.
type state struct{ Store }

var _ Facts = state{}

// Object implements Facts.
func (s state) Object(gr schema.GroupResource, namespace, name string) runtime.Object {
	o, _ := s.Get(gr, namespace, name)
	return o
}

// Objects implements Facts.
func (s state) Objects(gr schema.GroupResource, namespace string) (out []runtime.Object) {
	s.Snapshot(gr).Ascend(namespace, "", func(ns, _ string, o runtime.Object) bool {
		if ns == namespace {
			out = append(out, o)
		}
		return ns == namespace
	})
	return out
}

// surely asks a second time, after a barrier, what was refused by the local state, so that nothing is refused for an old state.
// A decision that refuses must leave the object as it was.
func (s state) surely(ctx context.Context, decide func() error) error {
	if decide() == nil {
		return nil
	}
	if err := s.Barrier(ctx); err != nil {
		return unavailable(namespacesResource, "read", err)
	}
	return decide()
}

// youngest is the one of several defaults that counts: the last that was made, and of those of one second the first by name.
func youngest[T metav1.Object](list []T) (out T) {
	if len(list) == 0 {
		return out
	}
	return slices.MinFunc(list, func(a, b T) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), strings.Compare(a.GetName(), b.GetName()))
	})
}
