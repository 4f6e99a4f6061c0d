package api

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits on the names of users of Windows, and on what describes a service account of its own kind.
const (
	gmsaSpecKiBMax          = 64
	windowsDomainCharacters = 256
	windowsUserCharacters   = 104
)

var (
	controlCharacters   = regexp.MustCompile(`[[:cntrl:]]+`)
	netBiosName         = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	windowsDomainName   = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?$`)
	windowsDotsAndBlank = regexp.MustCompile(`^[\. ]+$`)
)

func validateWindowsOptions(o *corev1.WindowsSecurityContextOptions, path *field.Path) (errs field.ErrorList) {
	if o == nil {
		return nil
	}
	if name := o.GMSACredentialSpecName; name != nil {
		errs = append(errs, faults(path.Child("gmsaCredentialSpecName"), name, utilvalidation.IsDNS1123Subdomain(*name))...)
	}
	if spec, at := o.GMSACredentialSpec, path.Child("gmsaCredentialSpec"); spec != nil {
		switch n := len(*spec); {
		case n == 0:
			errs = append(errs, field.Invalid(at, spec, "gmsaCredentialSpec cannot be an empty string"))
		case n > gmsaSpecKiBMax<<10:
			errs = append(errs, field.Invalid(at, spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", gmsaSpecKiBMax)))
		}
	}
	if user := o.RunAsUserName; user != nil {
		errs = append(errs, faults(path.Child("runAsUserName"), user, windowsUserFaults(*user))...)
	}
	return errs
}

// windowsUserFaults reads a name of the form [DOMAIN\]USER.
func windowsUserFaults(name string) (msgs []string) {
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case controlCharacters.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case strings.Count(name, `\`) > 1:
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	domain, user, ok := strings.Cut(name, `\`)
	if !ok {
		domain, user = "", name
	} else {
		if len(domain) >= windowsDomainCharacters {
			msgs = append(msgs, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", windowsDomainCharacters))
		}
		if !netBiosName.MatchString(domain) && !windowsDomainName.MatchString(domain) {
			msgs = append(msgs, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
		}
	}
	switch n := len(user); {
	case n == 0:
		msgs = append(msgs, "runAsUserName's User cannot be empty")
	case n > windowsUserCharacters:
		msgs = append(msgs, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", windowsUserCharacters))
	}
	if windowsDotsAndBlank.MatchString(user) {
		msgs = append(msgs, "runAsUserName's User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		msgs = append(msgs, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return msgs
}

func hostProcess(o *corev1.WindowsSecurityContextOptions) *bool {
	if o == nil {
		return nil
	}
	return o.HostProcess
}

// validateHostProcesses: either all containers of a pod of Windows are processes of the node, and use its network, or none is.
func validateHostProcesses(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	var ofPod *bool
	if s.SecurityContext != nil {
		ofPod = hostProcess(s.SecurityContext.WindowsOptions)
	}
	all, processes := 0, 0
	eachContainer(s, spec, func(c *corev1.Container, at *field.Path) {
		all++
		own := ofPod
		if c.SecurityContext != nil {
			if p := hostProcess(c.SecurityContext.WindowsOptions); p != nil {
				own = p
			}
		}
		if ofPod != nil && *own != *ofPod {
			errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *ofPod)))
		}
		if isTrue(own) {
			processes++
		}
	})
	if processes > 0 && processes < all {
		errs = append(errs, field.Invalid(spec, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if processes > 0 && !s.HostNetwork {
		errs = append(errs, field.Invalid(spec.Child("hostNetwork"), s.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}

// validatePodOS: what a pod's operating system does not know cannot be set.
func validatePodOS(s *corev1.PodSpec, spec *field.Path) field.ErrorList {
	path := spec.Child("os")
	switch s.OS.Name {
	case corev1.Linux:
		return validateLinux(s, spec)
	case corev1.Windows:
		return validateWindows(s, spec)
	case "":
		return field.ErrorList{field.Required(path.Child("name"), "cannot be empty")}
	}
	return field.ErrorList{field.NotSupported(path, s.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows})}
}

func validateLinux(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	const detail = "windows options cannot be set for a linux pod"
	if c := s.SecurityContext; c != nil && c.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(spec.Child("securityContext", "windowsOptions"), detail))
	}
	eachContainer(s, spec, func(c *corev1.Container, at *field.Path) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), detail))
		}
	})
	return errs
}

func validateWindows(s *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	path := spec
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "cannot be set for a windows pod"))
		}
	}
	if s.Resources != nil {
		errs = append(errs, field.Forbidden(spec.Child("resources"), "may not be set for a windows pod"))
	}
	forbid(s.HostUsers != nil, "hostUsers")
	forbid(s.HostPID, "hostPID")
	forbid(s.HostIPC, "hostIPC")
	forbid(s.ShareProcessNamespace != nil, "shareProcessNamespace")
	if c := s.SecurityContext; c != nil {
		path = spec.Child("securityContext")
		forbid(c.AppArmorProfile != nil, "appArmorProfile")
		forbid(c.SELinuxOptions != nil, "seLinuxOptions")
		forbid(c.SeccompProfile != nil, "seccompProfile")
		forbid(c.FSGroup != nil, "fsGroup")
		forbid(c.FSGroupChangePolicy != nil, "fsGroupChangePolicy")
		forbid(len(c.Sysctls) > 0, "sysctls")
		forbid(c.RunAsUser != nil, "runAsUser")
		forbid(c.RunAsGroup != nil, "runAsGroup")
		forbid(c.SupplementalGroups != nil, "supplementalGroups")
		forbid(c.SupplementalGroupsPolicy != nil, "supplementalGroupsPolicy")
		forbid(c.SELinuxChangePolicy != nil, "seLinuxChangePolicy")
	}
	eachContainer(s, spec, func(container *corev1.Container, at *field.Path) {
		c := container.SecurityContext
		if c == nil {
			return
		}
		path = at.Child("securityContext")
		forbid(c.AppArmorProfile != nil, "appArmorProfile")
		forbid(c.SELinuxOptions != nil, "seLinuxOptions")
		forbid(c.SeccompProfile != nil, "seccompProfile")
		forbid(c.Capabilities != nil, "capabilities")
		forbid(c.ReadOnlyRootFilesystem != nil, "readOnlyRootFilesystem")
		forbid(c.Privileged != nil, "privileged")
		forbid(c.AllowPrivilegeEscalation != nil, "allowPrivilegeEscalation")
		forbid(c.ProcMount != nil, "procMount")
		forbid(c.RunAsUser != nil, "runAsUser")
		forbid(c.RunAsGroup != nil, "runAsGroup")
	})
	return errs
}
