package api

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validateNewIngress also wants the old and the new way to name a class to agree; an ingress that
// disagrees with itself since long ago may stay.
func validateNewIngress(in *networkingv1.Ingress) field.ErrorList {
	errs := validateIngress(in)
	if old, set := in.Annotations[annotationIngressClass]; set && in.Spec.IngressClassName != nil && old != *in.Spec.IngressClassName {
		errs = append(errs, field.Invalid(field.NewPath("annotations").Child(annotationIngressClass), old,
			"must match `ingressClassName` when both are specified"))
	}
	return errs
}

func validateIngressUpdate(in, _ *networkingv1.Ingress) field.ErrorList { return validateIngress(in) }

func validateIngress(in *networkingv1.Ingress) (errs field.ErrorList) {
	s, spec := &in.Spec, field.NewPath("spec")
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(spec, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, validateBackend(s.DefaultBackend, spec.Child("defaultBackend"))...)
	}
	for i := range s.Rules {
		errs = append(errs, validateIngressRule(&s.Rules[i], spec.Child("rules").Index(i))...)
	}
	for i := range s.TLS {
		errs = append(errs, validateIngressTLS(&s.TLS[i], spec.Child("tls").Index(i))...)
	}
	if c := s.IngressClassName; c != nil {
		errs = append(errs, faults(spec.Child("ingressClassName"), *c, validation.NameIsDNSSubdomain(*c, false))...)
	}
	return errs
}

func validateIngressTLS(t *networkingv1.IngressTLS, at *field.Path) (errs field.ErrorList) {
	for i, host := range t.Hosts {
		errs = append(errs, validateIngressHost(host, at.Child("hosts").Index(i))...)
	}
	if t.SecretName != "" {
		errs = append(errs, faults(at.Child("secretName"), t.SecretName, validation.NameIsDNSSubdomain(t.SecretName, false))...)
	}
	return errs
}

// validateIngressHost accepts a name, or a name whose first label is the wildcard.
func validateIngressHost(host string, at *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return faults(at, host, utilvalidation.IsWildcardDNS1123Subdomain(host))
	}
	return faults(at, host, utilvalidation.IsDNS1123Subdomain(host))
}

func validateIngressRule(r *networkingv1.IngressRule, at *field.Path) (errs field.ErrorList) {
	if r.Host != "" {
		if netutils.ParseIPSloppy(r.Host) != nil {
			errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validateIngressHost(r.Host, at.Child("host"))...)
	}
	if r.HTTP == nil {
		return errs
	}
	paths := at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for i := range r.HTTP.Paths {
		errs = append(errs, validateHTTPPath(&r.HTTP.Paths[i], paths.Index(i))...)
	}
	return errs
}

func validateHTTPPath(p *networkingv1.HTTPIngressPath, at *field.Path) (errs field.ErrorList) {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		errs = append(errs, validateURLPath(p.Path, at.Child("path"))...)
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, oneOf(*p.PathType, at.Child("pathType"),
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)...)
	}
	return append(errs, validateBackend(&p.Backend, at.Child("backend"))...)
}

// validateURLPath keeps out what servers and proxies normalize each in its own way.
func validateURLPath(p string, at *field.Path) (errs field.ErrorList) {
	if !strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(at, p, "must be an absolute path"))
	}
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(p, part) {
			errs = append(errs, field.Invalid(at, p, fmt.Sprintf("must not contain '%s'", part)))
		}
	}
	for _, end := range []string{"/..", "/."} {
		if strings.HasSuffix(p, end) {
			errs = append(errs, field.Invalid(at, p, fmt.Sprintf("cannot end with '%s'", end)))
		}
	}
	return errs
}

func validateBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateObjectRef(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, at.Child("resource"))
	case b.Service != nil:
		return validateServiceBackend(b.Service, at)
	}
	return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
}

func validateServiceBackend(s *networkingv1.IngressServiceBackend, at *field.Path) (errs field.ErrorList) {
	service := at.Child("service")
	if s.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		errs = append(errs, faults(service.Child("name"), s.Name, validation.NameIsDNSLabel(s.Name, false))...)
	}
	switch named, numbered := s.Port.Name != "", s.Port.Number != 0; {
	case named && numbered:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case named:
		errs = append(errs, faults(service.Child("port", "name"), s.Port.Name, utilvalidation.IsValidPortName(s.Port.Name))...)
	case numbered:
		errs = append(errs, faults(service.Child("port", "number"), s.Port.Number, utilvalidation.IsValidPortNum(int(s.Port.Number)))...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

// validateObjectRef checks a reference to an object of a kind that the API need not know.
func validateObjectRef(group *string, kind, name string, at *field.Path) (errs field.ErrorList) {
	if group != nil {
		errs = append(errs, faults(at.Child("apiGroup"), *group, utilvalidation.IsDNS1123Subdomain(*group))...)
	}
	errs = append(errs, requiredSegment(kind, "kind is required", at.Child("kind"))...)
	return append(errs, requiredSegment(name, "name is required", at.Child("name"))...)
}

// requiredSegment checks a word that becomes a part of a URL's path.
func requiredSegment(word, absent string, at *field.Path) field.ErrorList {
	if word == "" {
		return field.ErrorList{field.Required(at, absent)}
	}
	return faults(at, word, path.IsValidPathSegmentName(word))
}

func validateIngressStatus(in, _ *networkingv1.Ingress) (errs field.ErrorList) {
	for i := range in.Status.LoadBalancer.Ingress {
		lb, at := &in.Status.LoadBalancer.Ingress[i], field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if lb.IP != "" {
			errs = append(errs, validateIP(at.Child("ip"), lb.IP)...)
		}
		if lb.Hostname == "" {
			continue
		}
		errs = append(errs, faults(at.Child("hostname"), lb.Hostname, utilvalidation.IsDNS1123Subdomain(lb.Hostname))...)
		if netutils.ParseIPSloppy(lb.Hostname) != nil {
			errs = append(errs, field.Invalid(at.Child("hostname"), lb.Hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
