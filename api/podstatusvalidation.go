package api

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodStatus guards what others build upon: the class of service, and that what has ended stays so.
func validatePodStatus(p, old *corev1.Pod) (errs field.ErrorList) {
	status := field.NewPath("status")
	errs = append(errs, validatePodAnnotationsUpdate(p, old)...)
	if p.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "nodeName"), "may not be changed directly"))
	}
	if n := p.Status.NominatedNodeName; n != "" {
		errs = append(errs, faults(status.Child("nominatedNodeName"), n, utilvalidation.IsDNS1123Subdomain(n))...)
	}
	if old.Status.QOSClass != "" && p.Status.QOSClass != old.Status.QOSClass {
		errs = append(errs, field.Invalid(status.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	for i, c := range p.Status.Conditions {
		errs = append(errs, faults(status.Child("conditions").Index(i).Child("type"), string(c.Type), utilvalidation.IsQualifiedName(string(c.Type)))...)
	}
	errs = append(errs, validateEndings(p, old, status)...)
	errs = append(errs, validateClaimStatuses(p, status.Child("resourceClaimStatuses"))...)
	return append(errs, validatePodAddresses(&p.Status, status)...)
}

// validateEndings: a container that has ended for good does not run again.
func validateEndings(p, old *corev1.Pod, status *field.Path) (errs field.ErrorList) {
	s := &old.Spec
	for i := range old.Status.ContainerStatuses {
		was := &old.Status.ContainerStatuses[i]
		if t := was.State.Terminated; t != nil && !restarts(s, s.Containers, was.Name, t.ExitCode) {
			errs = append(errs, stillEnded(was.Name, p.Status.ContainerStatuses, status.Child("containerStatuses").Index(i))...)
		}
	}
	for i := range old.Status.InitContainerStatuses {
		was := &old.Status.InitContainerStatuses[i]
		if t := was.State.Terminated; t != nil && !restarts(s, s.InitContainers, was.Name, t.ExitCode) {
			errs = append(errs, stillEnded(was.Name, p.Status.InitContainerStatuses, status.Child("initContainerStatuses").Index(i))...)
		}
	}
	for i := range old.Status.EphemeralContainerStatuses {
		if was := &old.Status.EphemeralContainerStatuses[i]; was.State.Terminated != nil {
			errs = append(errs, stillEnded(was.Name, p.Status.EphemeralContainerStatuses, status.Child("ephemeralContainerStatuses").Index(i))...)
		}
	}
	return errs
}

// restarts says whether a container that ended with a code may run again: by its own policy and rules, else by the pod's policy. One
// whose rules restart the whole pod brings all the others back with it.
func restarts(s *corev1.PodSpec, list []corev1.Container, name string, code int32) bool {
	if s.RestartPolicy == corev1.RestartPolicyAlways || slices.ContainsFunc(append(slices.Clone(s.Containers), s.InitContainers...), restartsAll) {
		return true
	}
	policy := corev1.ContainerRestartPolicy(s.RestartPolicy)
	if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 && list[i].RestartPolicy != nil {
		if len(list[i].RestartPolicyRules) > 0 {
			return true // its rules may bring it back, whatever the policy
		}
		policy = *list[i].RestartPolicy
	}
	switch policy {
	case corev1.ContainerRestartPolicyAlways:
		return true
	case corev1.ContainerRestartPolicyOnFailure:
		return code != 0
	}
	return false
}

func restartsAll(c corev1.Container) bool {
	return slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
		return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
	})
}

func stillEnded(name string, now []corev1.ContainerStatus, path *field.Path) field.ErrorList {
	for i := range now {
		if now[i].Name == name && now[i].State.Terminated == nil {
			return field.ErrorList{field.Forbidden(path.Child("state"), "may not be transitioned to non-terminated state")}
		}
	}
	return nil
}

// validateClaimStatuses: each tells of a claim of the pod's that is made from a template.
func validateClaimStatuses(p *corev1.Pod, path *field.Path) (errs field.ErrorList) {
	seen := sets.New[string]()
	for i, c := range p.Status.ResourceClaimStatuses {
		at := path.Index(i)
		if !slices.ContainsFunc(p.Spec.ResourceClaims, func(s corev1.PodResourceClaim) bool { return s.Name == c.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if seen.Has(c.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen.Insert(c.Name)
		if n := c.ResourceClaimName; n != nil {
			errs = append(errs, faults(at.Child("name"), *n, validation.NameIsDNSSubdomain(*n, false))...)
		}
	}
	return errs
}

func validatePodAddresses(s *corev1.PodStatus, status *field.Path) field.ErrorList {
	var pods, hosts []string
	for _, ip := range s.PodIPs {
		pods = append(pods, ip.IP)
	}
	for _, ip := range s.HostIPs {
		hosts = append(hosts, ip.IP)
	}
	errs := onePerFamily(pods, status.Child("podIPs"))
	errs = append(errs, onePerFamily(hosts, status.Child("hostIPs"))...)
	if len(hosts) > 0 && hosts[0] != s.HostIP {
		errs = append(errs, field.Invalid(status.Child("hostIPs").Index(0).Child("ip"), hosts[0], "must be equal to `hostIP`"))
	}
	return errs
}

func onePerFamily(ips []string, path *field.Path) (errs field.ErrorList) {
	families := map[bool]int{}
	for i, ip := range ips {
		errs = append(errs, validateIP(path.Index(i).Child("ip"), ip)...)
		if slices.Contains(ips[:i], ip) {
			errs = append(errs, field.Duplicate(path.Index(i), ip))
		}
		if a, err := netip.ParseAddr(ip); err == nil {
			families[a.Is4()]++
		}
	}
	if families[true] > 1 || families[false] > 1 {
		errs = append(errs, field.Invalid(path, ips, "may specify no more than one IP for each IP family"))
	}
	return errs
}
