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

// hostUsers says whether the users of the pod are those of its node; they are unless it says otherwise.
func hostUsers(s *corev1.PodSpec) bool { return s.HostUsers == nil || *s.HostUsers }

// validateUserNamespace: users of the pod's own have no rights to what is the node's.
func validateUserNamespace(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	if hostUsers(s) {
		return nil
	}
	own := func(set bool, path *field.Path) {
		if set {
			errs = append(errs, field.Forbidden(path, "when `hostUsers` is false"))
		}
	}
	own(s.HostNetwork, spec.Child("hostNetwork"))
	own(s.HostPID, spec.Child("HostPID"))
	own(s.HostIPC, spec.Child("HostIPC"))
	eachContainer(s, spec, func(c *corev1.Container, at *field.Path) { own(len(c.VolumeDevices) > 0, at.Child("volumeDevices")) })
	return errs
}

// eachContainer visits the containers of all three lists.
func eachContainer(s *corev1.PodSpec, spec *field.Path, visit func(c *corev1.Container, at *field.Path)) {
	for i := range s.InitContainers {
		visit(&s.InitContainers[i], spec.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		visit(&s.Containers[i], spec.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		visit((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), spec.Child("ephemeralContainers").Index(i))
	}
}

func validatePodSecurity(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	if s.HostPID && isTrue(s.ShareProcessNamespace) {
		errs = append(errs, field.Invalid(spec.Child("shareProcessNamespace"), *s.ShareProcessNamespace, "ShareProcessNamespace and HostPID cannot both be enabled"))
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
	errs = append(errs, validateSysctls(c.Sysctls, s, path.Child("sysctls"))...)
	if p := c.FSGroupChangePolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	if p := c.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if p := c.SELinuxChangePolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateWindowsOptions(c.WindowsOptions, path.Child("windowsOptions"))...)
	return append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
}

// validateSysctls: a pod that lives in a namespace of the node's must leave the parameters of that namespace alone.
func validateSysctls(list []corev1.Sysctl, spec *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
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
		switch name := dottedSysctl(s.Name); {
		case spec.HostNetwork && strings.HasPrefix(name, "net."):
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true"))
		case spec.HostIPC && slices.ContainsFunc(ipcSysctls, func(prefix string) bool { return strings.HasPrefix(name, prefix) }):
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true"))
		}
	}
	return errs
}

// ipcSysctls begin the names of the parameters of an IPC namespace.
var ipcSysctls = []string{"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."}

// dottedSysctl: whichever of dot and slash comes first in a name separates its parts; the other one is part of them.
func dottedSysctl(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}

// profile is what profiles of seccomp and of AppArmor have in common: their own file is named only if it is one on the node.
type profile struct {
	kind  string
	local bool
	file  *string
	value any // what is wrong if a file is named that is not used
}

func (p profile) validateFile(path *field.Path, validate func(file string, path *field.Path) field.ErrorList) field.ErrorList {
	switch {
	case p.local && p.file == nil:
		return field.ErrorList{field.Required(path, "must be set when "+p.kind+" type is Localhost")}
	case p.local:
		return validate(*p.file, path)
	case p.file != nil:
		return field.ErrorList{field.Invalid(path, p.value, "can only be set when "+p.kind+" type is Localhost")}
	}
	return nil
}

func validateProfileType[T ~string](t T, path *field.Path, whose string, allowed ...T) field.ErrorList {
	switch {
	case t == "":
		return field.ErrorList{field.Required(path, "type is required when "+whose+" is set")}
	case !slices.Contains(allowed, t):
		return field.ErrorList{field.NotSupported(path, t, allowed)}
	}
	return nil
}

func validateSeccomp(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateProfileType(p.Type, path.Child("type"), "seccompProfile",
		corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	named := profile{"seccomp", p.Type == corev1.SeccompProfileTypeLocalhost, p.LocalhostProfile, p}
	return append(errs, named.validateFile(path.Child("localhostProfile"), validateDescending)...)
}

func validateAppArmor(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateProfileType(p.Type, path.Child("type"), "appArmorProfile",
		corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	named := profile{"AppArmor", p.Type == corev1.AppArmorProfileTypeLocalhost, p.LocalhostProfile, p.LocalhostProfile}
	return append(errs, named.validateFile(path.Child("localhostProfile"), validateAppArmorFile)...)
}

// appArmorFileCharactersMax is the longest path that the kernel takes, without its end.
const appArmorFileCharactersMax = 4095

func validateAppArmorFile(file string, path *field.Path) (errs field.ErrorList) {
	if trimmed := strings.TrimSpace(file); trimmed != file {
		errs = append(errs, field.Invalid(path, file, "must not be padded with whitespace"))
	} else if file == "" {
		errs = append(errs, field.Required(path, "must be set when AppArmor type is Localhost"))
	}
	if len(file) > appArmorFileCharactersMax {
		errs = append(errs, field.TooLong(path, file, appArmorFileCharactersMax))
	}
	return errs
}

func validateSecurityContext(c *corev1.SecurityContext, hostUsers bool, path *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	errs = append(errs, validateID(c.RunAsUser, path.Child("runAsUser"), utilvalidation.IsValidUserID)...)
	errs = append(errs, validateID(c.RunAsGroup, path.Child("runAsGroup"), utilvalidation.IsValidGroupID)...)
	if p := c.ProcMount; p != nil {
		errs = append(errs, oneOf(*p, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if hostUsers && *p == corev1.UnmaskedProcMount {
			errs = append(errs, field.Invalid(path.Child("procMount"), p, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateWindowsOptions(c.WindowsOptions, path.Child("windowsOptions"))...)
	errs = append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
	if c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation {
		return errs
	}
	if isTrue(c.Privileged) {
		errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if c.Capabilities != nil && slices.Contains(c.Capabilities.Add, "CAP_SYS_ADMIN") {
		errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
	}
	return errs
}
