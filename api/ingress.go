package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: networkingv1.SchemeGroupVersion,
		Name:         "Ingress", Resource: "ingresses", Singular: "ingress", ShortNames: []string{"ing"},
		New:                  func() runtime.Object { return &networkingv1.Ingress{} },
		NewList:              func() runtime.Object { return &networkingv1.IngressList{} },
		Validate:             check(validateNewIngress),
		ValidateUpdate:       checkOld(validateIngressUpdate),
		ValidateStatusUpdate: checkOld(keepAddresses(validateIngressStatus)),
		Warnings:             warnings(ingressWarnings),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Class", "Which class of controllers serves the ingress."),
			textColumn("Hosts", "The hosts whose requests the ingress routes."),
			textColumn("Address", "Where the ingress is reached."),
			textColumn("Ports", "The ports at which the ingress is reached."),
			ageColumn,
		},
		Row: row(func(in *networkingv1.Ingress, now time.Time) []any {
			class := cellNone
			if in.Spec.IngressClassName != nil {
				class = *in.Spec.IngressClassName
			}
			return []any{
				in.Name, class, ingressHosts(in.Spec.Rules), ingressAddresses(&in.Status.LoadBalancer), ingressPorts(in.Spec.TLS),
				age(in.CreationTimestamp, now),
			}
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

// annotationIngressClass is how classes were named before there was a field for it.
const annotationIngressClass = "kubernetes.io/ingress.class"

func ingressWarnings(in *networkingv1.Ingress, isNew bool) []string {
	var out []string
	if _, old := in.Annotations[annotationIngressClass]; isNew && old && in.Spec.IngressClassName == nil {
		out = append(out, fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", annotationIngressClass))
	}
	if class := in.Spec.IngressClassName; class == nil || *class == BuiltInIngressClass {
		out = append(out, resourceBackendWarnings(&in.Spec, field.NewPath("spec"))...)
	}
	return out
}

// BuiltInIngressClass is the class that every node serves.
const BuiltInIngressClass = "peapod"

func resourceBackendWarnings(s *networkingv1.IngressSpec, path *field.Path) (out []string) {
	warn := func(b *networkingv1.IngressBackend, path *field.Path) {
		if b != nil && b.Resource != nil {
			out = append(out, fmt.Sprintf("%s: the built-in controller answers 503 for what is no service", path.Child("resource")))
		}
	}
	warn(s.DefaultBackend, path.Child("defaultBackend"))
	for i := range s.Rules {
		if http := s.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				warn(&http.Paths[j].Backend, path.Child("rules").Index(i).Child("http", "paths").Index(j).Child("backend"))
			}
		}
	}
	return out
}

// ingressHosts names the first hosts; the rest are counted by their rules, also those without a host.
func ingressHosts(rules []networkingv1.IngressRule) string {
	var hosts []string
	more := false
	for i := range rules {
		if len(hosts) == ingressHostsShownMax {
			more = true
			break
		}
		if h := rules[i].Host; h != "" {
			hosts = append(hosts, h)
		}
	}
	text := strings.Join(hosts, ",")
	switch {
	case text == "":
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", text, len(rules)-ingressHostsShownMax)
	}
	return text
}

func ingressAddresses(s *networkingv1.IngressLoadBalancerStatus) string {
	var all []string
	for i := range s.Ingress {
		if in := &s.Ingress[i]; in.IP != "" {
			all = append(all, in.IP)
		} else if in.Hostname != "" {
			all = append(all, in.Hostname)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// ingressPorts: the API knows no other ports.
func ingressPorts(tls []networkingv1.IngressTLS) string {
	if len(tls) > 0 {
		return "80, 443"
	}
	return "80"
}
