package api

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func init() {
	Register(&Kind{
		GroupVersion: networkingv1.SchemeGroupVersion,
		Name:         "ServiceCIDR", Resource: "servicecidrs", Singular: "servicecidr",
		ClusterScoped:  true,
		New:            func() runtime.Object { return &networkingv1.ServiceCIDR{} },
		NewList:        func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
		Validate:       check(func(c *networkingv1.ServiceCIDR) field.ErrorList { return validateServiceCIDRs(&c.Spec) }),
		ValidateUpdate: checkOld(validateServiceCIDRUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("CIDRs", "The ranges from which services get their addresses."), ageColumn,
		},
		Row: row(func(c *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), age(c.CreationTimestamp, now)}
		}),
		HasStatus: true,
	})
}

// validateServiceCIDRs wants one range, or one of each family. The first fault hides the rest: what
// the ranges are worth can only be said of the right number of them.
func validateServiceCIDRs(s *networkingv1.ServiceCIDRSpec) (errs field.ErrorList) {
	path := field.NewPath("spec", "cidrs")
	switch n := len(s.CIDRs); {
	case n == 0:
		return field.ErrorList{field.Required(path, "at least one CIDR required")}
	case n > serviceCIDRsMax:
		return field.ErrorList{field.Invalid(path, s, "may only hold up to 2 values")}
	case n == serviceCIDRsMax:
		if dual, err := netutils.IsDualStackCIDRStrings(s.CIDRs); err != nil || !dual {
			return field.ErrorList{field.Invalid(path, s, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")}
		}
	}
	for i, cidr := range s.CIDRs {
		errs = append(errs, utilvalidation.IsValidCIDR(path.Index(i), cidr)...)
	}
	return errs
}

// validateServiceCIDRUpdate lets a range of the other family be added, which takes no service its
// address. Everything else would.
func validateServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) (errs field.ErrorList) {
	now, was, path := c.Spec.CIDRs, old.Spec.CIDRs, field.NewPath("spec", "cidrs")
	grown := len(was) == 1 && len(now) == serviceCIDRsMax
	if len(now) != len(was) && !grown {
		return validation.ValidateImmutableField(now, was, path)
	}
	for i := range was {
		errs = append(errs, validation.ValidateImmutableField(now[i], was[i], path.Index(i))...)
	}
	if grown {
		errs = append(errs, validateServiceCIDRs(&c.Spec)...)
	}
	return errs
}
