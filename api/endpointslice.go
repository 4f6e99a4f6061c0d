package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
		GroupVersion: discoveryv1.SchemeGroupVersion,
		Name:         "EndpointSlice", Resource: "endpointslices", Singular: "endpointslice",
		New:              func() runtime.Object { return &discoveryv1.EndpointSlice{} },
		NewList:          func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default:          with(defaultEndpointSlice),
		PrepareForCreate: with(func(s *discoveryv1.EndpointSlice) { s.Generation = 1 }),
		PrepareForUpdate: withOld(countSlice),
		Validate:         check(validateEndpointSlice),
		ValidateUpdate: checkOld(func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			return append(validateEndpointSlice(s),
				validation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
		}),
		ValidateName: validation.NameIsDNSSubdomain,
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("AddressType", "What kind of addresses the slice holds."),
			textColumn("Ports", "The ports of every endpoint of the slice."),
			textColumn("Endpoints", "The endpoints' addresses."),
			ageColumn,
		},
		Row: row(func(s *discoveryv1.EndpointSlice, now time.Time) []any {
			return []any{s.Name, string(s.AddressType), slicePorts(s.Ports), sliceEndpoints(s.Endpoints), age(s.CreationTimestamp, now)}
		}),
	})
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		fillPtr(&s.Ports[i].Name, "")
		fillPtr(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// countSlice counts generations: the kind has no spec, so everything but the metadata is one.
func countSlice(s, old *discoveryv1.EndpointSlice) {
	s.Generation = old.Generation
	was, is := *old, *s
	was.ObjectMeta, is.ObjectMeta = metav1.ObjectMeta{Labels: old.Labels}, metav1.ObjectMeta{Labels: s.Labels}
	was.TypeMeta, is.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
	if !equality.Semantic.DeepEqual(was, is) {
		s.Generation++
	}
}

func slicePorts(ports []discoveryv1.EndpointPort) string {
	var shown []string
	for i := 0; i < len(ports) && i < endpointsShownMax; i++ {
		if n := ports[i].Port; n != nil {
			shown = append(shown, itoa(int(*n)))
		} else {
			shown = append(shown, "*")
		}
	}
	return listText(shown, len(ports))
}

func sliceEndpoints(endpoints []discoveryv1.Endpoint) string {
	var all []string
	for i := range endpoints {
		all = append(all, endpoints[i].Addresses...)
	}
	return listText(all[:min(len(all), endpointsShownMax)], len(all))
}

func listText(shown []string, total int) string {
	if total == 0 {
		return cellUnset
	}
	text := strings.Join(shown, ",")
	if total > len(shown) {
		text += fmt.Sprintf(" + %d more...", total-len(shown))
	}
	return text
}

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := requiredOneOf(s.AddressType, field.NewPath("addressType"),
		discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	if len(s.Endpoints) > sliceEndpointsMax {
		return append(errs, field.TooMany(field.NewPath("endpoints"), len(s.Endpoints), sliceEndpointsMax))
	}
	for i := range s.Endpoints {
		errs = append(errs, validateEndpoint(&s.Endpoints[i], s.AddressType, field.NewPath("endpoints").Index(i))...)
	}
	return append(errs, validateSlicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) (errs field.ErrorList) {
	addresses := path.Child("addresses")
	switch {
	case len(e.Addresses) == 0:
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	case len(e.Addresses) > sliceEndpointAddressesMax:
		errs = append(errs, field.TooMany(addresses, len(e.Addresses), sliceEndpointAddressesMax))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(a, t, addresses.Index(i))...)
	}
	if n := e.NodeName; n != nil {
		errs = append(errs, faults(path.Child("nodeName"), *n, validation.NameIsDNSSubdomain(*n, false))...)
	}
	if h := e.Hostname; h != nil {
		errs = append(errs, faults(path.Child("hostname"), *h, utilvalidation.IsDNS1123Label(*h))...)
	}
	return errs
}

func validateSliceAddress(a string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	ip, err := netip.ParseAddr(a)
	switch t {
	case discoveryv1.AddressTypeIPv4:
		if err != nil || !ip.Is4() {
			return field.ErrorList{field.Invalid(path, a, "must be a valid IPv4 address")}
		}
		return validateRoutable(a, path)
	case discoveryv1.AddressTypeIPv6:
		if err != nil || !ip.Is6() {
			return field.ErrorList{field.Invalid(path, a, "must be a valid IPv6 address")}
		}
		return validateRoutable(a, path)
	case discoveryv1.AddressTypeFQDN:
		return utilvalidation.IsFullyQualifiedDomainName(path, a)
	}
	return nil
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, path *field.Path) (errs field.ErrorList) {
	if len(ports) > slicePortsMax {
		return field.ErrorList{field.TooMany(path, len(ports), slicePortsMax)}
	}
	names := sets.New[string]()
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		name := valueOf(p.Name)
		if name != "" {
			errs = append(errs, faults(at.Child("name"), name, utilvalidation.IsDNS1123Label(name))...)
		}
		if names.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names.Insert(name)
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, oneOf(*p.Protocol, at.Child("protocol"), slices.Clone(sets.List(protocols))...)...)
		}
		if p.Port != nil {
			errs = append(errs, faults(at.Child("port"), *p.Port, utilvalidation.IsValidPortNum(int(*p.Port)))...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, faults(at.Child("appProtocol"), *p.AppProtocol, utilvalidation.IsQualifiedName(*p.AppProtocol))...)
		}
	}
	return errs
}
