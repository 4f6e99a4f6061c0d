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
		New:     func() runtime.Object { return &discoveryv1.EndpointSlice{} },
		NewList: func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default: with(defaultEndpointSlice),
		PrepareForCreate: with(func(s *discoveryv1.EndpointSlice) {
			s.Generation = 1
			dropTopology(s)
		}),
		PrepareForUpdate: withOld(func(s, old *discoveryv1.EndpointSlice) {
			dropTopology(s)
			countSlice(s, old)
		}),
		Validate: check(validateEndpointSlice),
		ValidateUpdate: checkOld(func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			errs := validateEndpointSlice(s)
			if equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
				errs = withoutAddressFaults(errs)
			}
			return append(errs,
				validation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
		}),
		Warnings: warnings(func(s *discoveryv1.EndpointSlice, _ bool) []string { return sliceWarnings(s) }),
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

// dropTopology drops what only v1beta1 could write.
func dropTopology(s *discoveryv1.EndpointSlice) {
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
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

func sliceWarnings(s *discoveryv1.EndpointSlice) (out []string) {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return []string{"addressType: FQDN endpoints are deprecated"}
	}
	for i := range s.Endpoints {
		for j, a := range s.Endpoints[i].Addresses {
			out = append(out, ipWarnings(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return out
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
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

// validateHints checks the lists of zones and nodes whose clients should use an endpoint.
func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	var zones, nodes []string
	for _, z := range h.ForZones {
		zones = append(zones, z.Name)
	}
	for _, n := range h.ForNodes {
		nodes = append(nodes, n.Name)
	}
	return append(validateHintNames(zones, path.Child("forZones"), utilvalidation.IsValidLabelValue),
		validateHintNames(nodes, path.Child("forNodes"), utilvalidation.IsDNS1123Subdomain)...)
}

func validateHintNames(names []string, path *field.Path, faultsOf func(string) []string) (errs field.ErrorList) {
	if len(names) > sliceHintsMax {
		return field.ErrorList{field.TooMany(path, len(names), sliceHintsMax)}
	}
	for i, name := range names {
		at := path.Index(i).Child("name")
		if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at, name))
		}
		errs = append(errs, faults(at, name, faultsOf(name))...)
	}
	return errs
}

func validateSliceAddress(a string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	switch t {
	case discoveryv1.AddressTypeIPv4:
		return validateSliceIP(a, "must be a valid IPv4 address", netip.Addr.Is4, path)
	case discoveryv1.AddressTypeIPv6:
		return validateSliceIP(a, "must be a valid IPv6 address", netip.Addr.Is6, path)
	case discoveryv1.AddressTypeFQDN:
		return utilvalidation.IsFullyQualifiedDomainName(path, a)
	}
	return nil
}

func validateSliceIP(a, wrong string, rightFamily func(netip.Addr) bool, path *field.Path) field.ErrorList {
	if errs := validateIP(path, a); len(errs) > 0 {
		return errs
	}
	if !rightFamily(netip.MustParseAddr(a)) {
		return field.ErrorList{field.Invalid(path, a, wrong)}
	}
	return validateRoutable(a, path)
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
