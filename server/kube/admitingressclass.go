package kube

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apiserver/pkg/admission"
)

// oldIngressClass is the annotation by which ingresses named their class before there were classes.
const oldIngressClass = "kubernetes.io/ingress.class"

// ingressClassRule gives new ingresses that name no class the cluster's default one, if there is one.
type ingressClassRule struct{ state }

func (r ingressClassRule) mutate(_ context.Context, at admission.Attributes) error {
	i := created[networkingv1.Ingress](at, ingressesResource)
	if i == nil || i.Spec.IngressClassName != nil {
		return nil
	}
	if _, old := i.Annotations[oldIngressClass]; old {
		return nil
	}
	classes := slices.DeleteFunc(factsOf[*networkingv1.IngressClass](r, ingressClassesResource, ""), func(c *networkingv1.IngressClass) bool {
		return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true"
	})
	if c := youngest(classes); c != nil {
		i.Spec.IngressClassName = &c.Name
	}
	return nil
}
