package api

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// addressOrigin marks faults in the form of an address or a range.
const addressOrigin = "format=address"

// validateIP checks an address, and validateCIDR a range, of a field that may hold them in any valid
// form. Old forms that programs read differently (zeros in front, IPv4 inside IPv6, bits beyond the
// prefix) are refused, as Kubernetes always does since v1.37 (KEP-4858, StrictIPCIDRValidation).
func validateIP(path *field.Path, ip string) field.ErrorList {
	return utilvalidation.IsValidIPForLegacyField(path, ip, true, nil).WithOrigin(addressOrigin)
}

func validateCIDR(path *field.Path, cidr string) field.ErrorList {
	return utilvalidation.IsValidCIDRForLegacyField(path, cidr, true, nil).WithOrigin(addressOrigin)
}

// keepAddresses lets an object keep addresses in a form that is not allowed any more: they may be written again, and move within
// their list. Only a form that the object did not have is a fault.
func keepAddresses[P runtime.Object](validate func(obj, old P) field.ErrorList) func(obj, old P) field.ErrorList {
	return func(obj, old P) field.ErrorList {
		errs := validate(obj, old)
		if !slices.ContainsFunc(errs, isAddressFault) {
			return errs
		}
		type place struct{ list, value string }
		had := map[place]bool{}
		for _, e := range validate(old, old) {
			if value, ok := e.BadValue.(string); ok && isAddressFault(e) {
				had[place{withoutIndexes(e.Field), value}] = true
			}
		}
		return slices.DeleteFunc(errs, func(e *field.Error) bool {
			value, ok := e.BadValue.(string)
			return ok && isAddressFault(e) && had[place{withoutIndexes(e.Field), value}]
		})
	}
}

func isAddressFault(e *field.Error) bool { return e.Origin == addressOrigin }

// withoutAddressFaults is for what did not change, where faults in it are old.
func withoutAddressFaults(errs field.ErrorList) field.ErrorList {
	return slices.DeleteFunc(errs, isAddressFault)
}

// withoutIndexes is the path of a list's elements.
func withoutIndexes(path string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(path, "[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, path, _ = strings.Cut(rest, "]")
	}
}

// ipWarnings says if a valid address is not in the form in which others write it. What is not valid
// is validation's to report.
func ipWarnings(path *field.Path, ip string) []string {
	if len(validateIP(path, ip)) > 0 {
		return nil
	}
	return utilvalidation.GetWarningsForIP(path, ip)
}

func cidrWarnings(path *field.Path, cidr string) []string {
	if len(validateCIDR(path, cidr)) > 0 {
		return nil
	}
	return utilvalidation.GetWarningsForCIDR(path, cidr)
}
