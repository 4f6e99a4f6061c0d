package api

import (
	"net/netip"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: networkingv1.SchemeGroupVersion,
		Name:         "IPAddress", Resource: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"},
		ClusterScoped: true,
		New:           func() runtime.Object { return &networkingv1.IPAddress{} },
		NewList:       func() runtime.Object { return &networkingv1.IPAddressList{} },
		Validate:      check(validateIPAddress),
		ValidateUpdate: checkOld(func(ip, old *networkingv1.IPAddress) field.ErrorList {
			return validation.ValidateImmutableField(ip.Spec.ParentRef, old.Spec.ParentRef, field.NewPath("spec", "parentRef"))
		}),
		ValidateName: validateIPAddressName,
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("ParentRef", "The object that holds the address."),
		},
		Row: row(func(ip *networkingv1.IPAddress, _ time.Time) []any {
			return []any{ip.Name, parentText(ip.Spec.ParentRef)}
		}),
	})
}

// validateIPAddressName: the name is the address, so two objects cannot be one address in two forms.
func validateIPAddressName(name string, _ bool) []string {
	ip, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return []string{err.Error()}
	case ip.String() != name:
		return []string{"must be a canonical format IP address"}
	}
	return nil
}

func parentText(p *networkingv1.ParentReference) string {
	if p == nil {
		return cellNone
	}
	text := strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())
	if p.Namespace != "" {
		text += "/" + p.Namespace
	}
	return text + "/" + p.Name
}

// validateIPAddress allows the group to be absent: services, which most addresses belong to, are of
// the core group.
func validateIPAddress(ip *networkingv1.IPAddress) (errs field.ErrorList) {
	p, path := ip.Spec.ParentRef, field.NewPath("spec", "parentRef")
	if p == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	if p.Group != "" {
		errs = append(errs, faults(path.Child("group"), p.Group, utilvalidation.IsDNS1123Subdomain(p.Group))...)
	}
	errs = append(errs, requiredSegment(p.Resource, "", path.Child("resource"))...)
	errs = append(errs, requiredSegment(p.Name, "", path.Child("name"))...)
	if p.Namespace != "" {
		errs = append(errs, faults(path.Child("namespace"), p.Namespace, pathvalidation.IsValidPathSegmentName(p.Namespace))...)
	}
	return errs
}
