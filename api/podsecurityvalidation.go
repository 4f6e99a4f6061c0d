package api

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sysctlName is dotted or slashed words, as the kernel spells them.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9]$`)

const sysctlCharactersMax = 253

func validateID(id *int64, path *field.Path, is func(int64) []string) field.ErrorList {
	if id == nil {
		return nil
	}
	return faults(path, *id, is(*id))
}

func validatePodSecurity(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	if s.HostPID && isTrue(s.ShareProcessNamespace) {
		errs = append(errs, field.Invalid(spec.Child("shareProcessNamespace"), *s.ShareProcessNamespace, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if s.HostUsers != nil && !*s.HostUsers {
		own := func(set bool, name string) {
			if set {
				errs = append(errs, field.Forbidden(spec.Child(name), "when `hostUsers` is false"))
			}
		}
		own(s.HostNetwork, "hostNetwork")
		own(s.HostPID, "HostPID")
		own(s.HostIPC, "HostIPC")
	}
	c, path := s.SecurityContext, spec.Child("securityContext")
	if c == nil {
		return errs
	}
	errs = append(errs, validateID(c.FSGroup, path.Child("fsGroup"), utilvalidation.IsValidGroupID)...)
	errs = append(errs, validateID(c.RunAsUser, path.Child("runAsUser"), utilvalidation.IsValidUserID)...)
	errs = append(errs, validateID(c.RunAsGroup, path.Child("runAsGroup"), utilvalidation.IsValidGroupID)...)
	for i := range c.SupplementalGroups {
		errs = append(errs, validateID(&c.SupplementalGroups[i], path.Child("supplementalGroups").Index(i), utilvalidation.IsValidGroupID)...)
	}
	errs = append(errs, validateSysctls(c.Sysctls, path.Child("sysctls"))...)
	if p := c.FSGroupChangePolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	if p := c.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	return append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
}

func validateSysctls(list []corev1.Sysctl, path *field.Path) (errs field.ErrorList) {
	seen := sets.New[string]()
	for i, s := range list {
		at := path.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > sysctlCharactersMax || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, "must have at most 253 characters and match regex "+sysctlName.String()))
		case seen.Has(s.Name):
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		seen.Insert(s.Name)
	}
	return errs
}

func validateSeccomp(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := requiredOneOf(p.Type, path.Child("type"),
		corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	file := path.Child("localhostProfile")
	switch {
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(file, "must be set when seccomp type is Localhost"))
	case p.Type == corev1.SeccompProfileTypeLocalhost:
		errs = append(errs, validateDescending(*p.LocalhostProfile, file)...)
	case p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(file, *p.LocalhostProfile, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

func validateAppArmor(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := requiredOneOf(p.Type, path.Child("type"),
		corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	file := path.Child("localhostProfile")
	switch {
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(file, "must be set when AppArmor type is Localhost"))
	case p.Type != corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(file, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
	}
	return errs
}

func validateSecurityContext(c *corev1.SecurityContext, path *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	errs = append(errs, validateID(c.RunAsUser, path.Child("runAsUser"), utilvalidation.IsValidUserID)...)
	errs = append(errs, validateID(c.RunAsGroup, path.Child("runAsGroup"), utilvalidation.IsValidGroupID)...)
	if p := c.ProcMount; p != nil {
		errs = append(errs, oneOf(*p, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
	if c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation {
		return errs
	}
	if isTrue(c.Privileged) {
		errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if c.Capabilities != nil && slices.ContainsFunc(c.Capabilities.Add, func(cap corev1.Capability) bool {
		return strings.TrimPrefix(string(cap), "CAP_") == "SYS_ADMIN"
	}) {
		errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
	}
	return errs
}
