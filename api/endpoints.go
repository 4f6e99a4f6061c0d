package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Endpoints", Resource: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"},
		New:     func() runtime.Object { return &corev1.Endpoints{} },
		NewList: func() runtime.Object { return &corev1.EndpointsList{} },
		Default: with(func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					fill(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		}),
		Validate: check(validateEndpoints),
		ValidateUpdate: checkOld(func(e, old *corev1.Endpoints) field.ErrorList {
			errs := validateEndpoints(e)
			if equality.Semantic.DeepEqual(e.Subsets, old.Subsets) { // addresses move between subsets, so all of them are new or none is
				return withoutAddressFaults(errs)
			}
			return errs
		}),
		Warnings:     warnings(func(e *corev1.Endpoints, _ bool) []string { return endpointsWarnings(e) }),
		ValidateName: validation.NameIsDNSSubdomain,
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Endpoints", "Addresses and ports that are ready."), ageColumn,
		},
		Row: row(func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, endpointsText(e), age(e.CreationTimestamp, now)}
		}),
		CreateOnUpdate: true,
	})
}

// endpointsText names the first few addresses and counts the rest.
func endpointsText(e *corev1.Endpoints) string {
	var shown []string
	n := 0
	add := func(s string) {
		if n++; n <= endpointsShownMax {
			shown = append(shown, s)
		}
	}
	for i := range e.Subsets {
		s := &e.Subsets[i]
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 {
				add(a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				add(hostPort(a.IP, p.Port))
			}
		}
	}
	text := orNone(strings.Join(shown, ","))
	if n > endpointsShownMax {
		text += fmt.Sprintf(" + %d more...", n-endpointsShownMax)
	}
	return text
}

func hostPort(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}

func endpointsWarnings(e *corev1.Endpoints) (out []string) {
	for i := range e.Subsets {
		for name, list := range map[string][]corev1.EndpointAddress{"addresses": e.Subsets[i].Addresses, "notReadyAddresses": e.Subsets[i].NotReadyAddresses} {
			for j := range list {
				out = append(out, ipWarnings(field.NewPath("subsets").Index(i).Child(name).Index(j).Child("ip"), list[j].IP)...)
			}
		}
	}
	slices.Sort(out)
	return out
}

func validateEndpoints(e *corev1.Endpoints) (errs field.ErrorList) {
	for i := range e.Subsets {
		s, path := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], path.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], path.Child("notReadyAddresses").Index(j))...)
		}
		for j := range s.Ports {
			errs = append(errs, validateEndpointPort(&s.Ports[j], path.Child("ports").Index(j), len(s.Ports) > 1)...)
		}
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := validateIP(path.Child("ip"), a.IP)
	if a.Hostname != "" {
		errs = append(errs, faults(path.Child("hostname"), a.Hostname, utilvalidation.IsDNS1123Label(a.Hostname))...)
	}
	if a.NodeName != nil {
		errs = append(errs, faults(path.Child("nodeName"), *a.NodeName, validation.NameIsDNSSubdomain(*a.NodeName, false))...)
	}
	if len(errs) == 0 {
		errs = append(errs, validateRoutable(a.IP, path.Child("ip"))...)
	}
	return errs
}

// validateRoutable keeps out addresses that mean something else on each machine.
func validateRoutable(text string, path *field.Path) (errs field.ErrorList) {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil // written in an old form; whoever uses it reads it leniently
	}
	bad := func(is bool, what string) {
		if is {
			errs = append(errs, field.Invalid(path, text, "may not be "+what))
		}
	}
	bad(ip.IsUnspecified(), "unspecified ("+text+")")
	bad(ip.IsLoopback(), "in the loopback range (127.0.0.0/8, ::1/128)")
	bad(ip.IsLinkLocalUnicast(), "in the link-local range (169.254.0.0/16, fe80::/10)")
	bad(ip.IsLinkLocalMulticast(), "in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	return errs
}

// validateOuterIP checks an address at which traffic from outside arrives.
func validateOuterIP(ip string, path *field.Path) field.ErrorList {
	if errs := validateIP(path, ip); len(errs) > 0 {
		return errs
	}
	return validateRoutable(ip, path)
}

func validateEndpointPort(p *corev1.EndpointPort, path *field.Path, named bool) (errs field.ErrorList) {
	switch {
	case p.Name != "":
		errs = append(errs, faults(path.Child("name"), p.Name, utilvalidation.IsDNS1123Label(p.Name))...)
	case named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, faults(path.Child("port"), p.Port, utilvalidation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, requiredOneOf(p.Protocol, path.Child("protocol"), sets.List(protocols)...)...)
	if p.AppProtocol != nil {
		errs = append(errs, faults(path.Child("appProtocol"), *p.AppProtocol, utilvalidation.IsQualifiedName(*p.AppProtocol))...)
	}
	return errs
}
