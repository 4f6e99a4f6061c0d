package kube

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
)

// CheckTypes says which expressions of a policy do not fit the kinds that it matches, as this server describes them. It warns only: at
// runtime such an expression fails, and the policy's failure policy decides. A kind that nobody serves is not looked at.
func (s *Server) CheckTypes(p *admissionv1.ValidatingAdmissionPolicy) (warnings []admissionv1.ExpressionWarning, err error) {
	client, err := discovery.NewDiscoveryClientForConfig(s.self.config())
	if err != nil {
		return nil, err
	}
	defer func() { // hostile expressions and schemas meet here for the first time, in a goroutine that nobody else guards
		if fault := recover(); fault != nil {
			err = fmt.Errorf("checking the types of policy %s: %v", p.Name, fault)
		}
	}()
	checker := &validating.TypeChecker{SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: client}, RestMapper: servedKinds{client: client}}
	return checker.Check(p), nil
}

// servedKinds finds the kinds of resources by asking for those of their version, which is all that the checker wants of a mapper.
type servedKinds struct {
	meta.RESTMapper
	client discovery.ServerResourcesInterface
}

// KindsFor implements meta.RESTMapper for resources of a version that is named.
func (k servedKinds) KindsFor(r schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	list, err := k.client.ServerResourcesForGroupVersion(r.GroupVersion().String())
	if err != nil {
		return nil, err
	}
	for _, o := range list.APIResources {
		if o.Name == r.Resource {
			return []schema.GroupVersionKind{r.GroupVersion().WithKind(o.Kind)}, nil
		}
	}
	return nil, &meta.NoResourceMatchError{PartialResource: r}
}
