package api

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: networkingv1.SchemeGroupVersion,
		Name:         "IngressClass", Resource: "ingressclasses", Singular: "ingressclass",
		ClusterScoped:  true,
		New:            func() runtime.Object { return &networkingv1.IngressClass{} },
		NewList:        func() runtime.Object { return &networkingv1.IngressClassList{} },
		Default:        with(defaultIngressClass),
		Validate:       check(validateIngressClass),
		ValidateUpdate: checkOld(validateIngressClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Controller", "The controller that serves ingresses of the class."),
			textColumn("Parameters", "The object that configures the controller for the class."),
			ageColumn,
		},
		Row: row(func(c *networkingv1.IngressClass, now time.Time) []any {
			return []any{c.Name, c.Spec.Controller, parametersText(c.Spec.Parameters), age(c.CreationTimestamp, now)}
		}),
		HasGeneration: true,
	})
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if p := c.Spec.Parameters; p != nil {
		fillPtr(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

func parametersText(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return cellNone
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return kind + "/" + p.Name
}

func validateIngressClass(c *networkingv1.IngressClass) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	controller := spec.Child("controller")
	if len(c.Spec.Controller) > ingressControllerBytesMax {
		errs = append(errs, field.TooLong(controller, c.Spec.Controller, ingressControllerBytesMax))
	}
	errs = append(errs, utilvalidation.IsDomainPrefixedPath(controller, c.Spec.Controller)...)
	if c.Spec.Parameters != nil {
		errs = append(errs, validateClassParameters(c.Spec.Parameters, spec.Child("parameters"))...)
	}
	return errs
}

func validateClassParameters(p *networkingv1.IngressClassParametersReference, path *field.Path) field.ErrorList {
	errs := validateObjectRef(p.APIGroup, p.Kind, p.Name, path)
	if p.Scope == nil {
		return append(errs, field.Required(path.Child("scope"), ""))
	}
	namespace := path.Child("namespace")
	switch *p.Scope {
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
		}
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if p.Namespace == nil {
			errs = append(errs, field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
		} else {
			errs = append(errs, faults(namespace, *p.Namespace, validation.ValidateNamespaceName(*p.Namespace, false))...)
		}
	default:
		errs = append(errs, oneOf(*p.Scope, path.Child("scope"),
			networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	}
	return errs
}

func validateIngressClassUpdate(c, old *networkingv1.IngressClass) field.ErrorList {
	return append(validateIngressClass(c),
		validation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))...)
}
