package api

import (
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateIP checks an address, and validateCIDR a range, of a field that may hold them in any valid
// form. Old forms that programs read differently (zeros in front, IPv4 inside IPv6, bits beyond the
// prefix) are refused, as Kubernetes does by default since v1.36 (StrictIPCIDRValidation).
func validateIP(path *field.Path, ip string) field.ErrorList {
	return utilvalidation.IsValidIPForLegacyField(path, ip, true, nil)
}

func validateCIDR(path *field.Path, cidr string) field.ErrorList {
	return utilvalidation.IsValidCIDRForLegacyField(path, cidr, true, nil)
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
