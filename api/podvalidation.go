package api

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validatePodSpec(&p.Spec, spec)
	errs = append(errs, validateClaimNames(p, spec.Child("volumes"))...)
	if len(p.Spec.EphemeralContainers) > 0 && p.ResourceVersion == "" {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	return errs
}

// validateTemplate checks the pods-to-be of a kind that stamps pods. Labels and annotations are
// reported without "metadata" in the path, as Kubernetes does.
func validateTemplate(t *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, path.Child("labels"))...)
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, validatePodSpec(&t.Spec, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func validatePodSpec(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	volumes, errs := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, validateContainers(s, volumes, path)...)
	errs = append(errs, requiredInOrder(s.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, requiredInOrder(s.DNSPolicy, path.Child("dnsPolicy"),
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, path)...)
	errs = append(errs, validateAffinityRules(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateDNSConfig(s, path.Child("dnsConfig"))...)
	errs = append(errs, validateGates(s, path)...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validatePodNames(s, path)...)
	errs = append(errs, validateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateHostAliases(s.HostAliases, path.Child("hostAliases"))...)
	return append(errs, validatePodNumbers(s, path)...)
}

// requiredInOrder is requiredOneOf for those fields whose choices Kubernetes lists unsorted.
func requiredInOrder[T ~string](v T, path *field.Path, allowed ...T) field.ErrorList {
	switch {
	case v == "":
		return field.ErrorList{field.Required(path, "")}
	case slices.Contains(allowed, v):
		return nil
	}
	return field.ErrorList{field.NotSupported(path, v, allowed)}
}

func validatePodNumbers(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if n := s.ActiveDeadlineSeconds; n != nil && (*n < 1 || *n > activeDeadlineSecondsMax) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *n, utilvalidation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if n := s.TerminationGracePeriodSeconds; n != nil {
		errs = append(errs, nonnegative(*n, path.Child("terminationGracePeriodSeconds"))...)
	}
	if p := s.PreemptionPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	for _, name := range sortedKeys(s.Overhead) {
		q, at := s.Overhead[name], path.Child("overhead").Key(string(name))
		errs = append(errs, validateContainerResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	if s.Resources != nil {
		errs = append(errs, validatePodResources(s, path.Child("resources"))...)
	}
	return errs
}

// validatePodResources: only some resources can be shared by the pod as a whole, and no container
// may be promised more than the pod has.
func validatePodResources(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateResources(s.Resources, path)
	allowed := func(list corev1.ResourceList, name string) {
		for _, r := range sortedKeys(list) {
			if r != corev1.ResourceCPU && r != corev1.ResourceMemory && !hugePages(r) {
				errs = append(errs, field.NotSupported(path.Child(name), r, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceHugePagesPrefix}))
			}
		}
	}
	allowed(s.Resources.Limits, "limits")
	allowed(s.Resources.Requests, "requests")
	if len(s.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims cannot be set for Resources at pod-level"))
	}
	return errs
}

func validatePodNames(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	name := func(v, child string, is func(string) []string) {
		if v != "" {
			errs = append(errs, faults(path.Child(child), v, is(v))...)
		}
	}
	subdomain := func(v string) []string { return validation.NameIsDNSSubdomain(v, false) }
	name(s.ServiceAccountName, "serviceAccountName", subdomain)
	name(s.NodeName, "nodeName", subdomain)
	name(s.Hostname, "hostname", utilvalidation.IsDNS1123Label)
	name(s.Subdomain, "subdomain", utilvalidation.IsDNS1123Label)
	name(s.PriorityClassName, "priorityClassName", subdomain)
	name(valueOf(s.RuntimeClassName), "runtimeClassName", subdomain)
	name(s.SchedulerName, "schedulerName", subdomain)
	if s.OS != nil {
		errs = append(errs, requiredOneOf(s.OS.Name, path.Child("os", "name"), corev1.Linux, corev1.Windows)...)
	}
	if h := s.HostnameOverride; h != nil {
		errs = append(errs, faults(path.Child("hostnameOverride"), *h, utilvalidation.IsDNS1123Subdomain(*h))...)
		if s.HostNetwork {
			errs = append(errs, field.Forbidden(path.Child("hostnameOverride"), "may not be specified when hostNetwork is true"))
		}
	}
	return errs
}

func validateGates(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for i, g := range s.ReadinessGates {
		at := path.Child("readinessGates").Index(i).Child("conditionType")
		errs = append(errs, faults(at, string(g.ConditionType), utilvalidation.IsQualifiedName(string(g.ConditionType)))...)
	}
	seen := sets.New[string]()
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, faults(at, g.Name, utilvalidation.IsQualifiedName(g.Name))...)
		if seen.Has(g.Name) {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		seen.Insert(g.Name)
	}
	if len(s.SchedulingGates) > 0 && s.NodeName != "" {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

func validateHostAliases(aliases []corev1.HostAlias, path *field.Path) (errs field.ErrorList) {
	for i, a := range aliases {
		at := path.Index(i)
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("ip"), a.IP, false, nil)...)
		for j, h := range a.Hostnames {
			errs = append(errs, faults(at.Child("hostnames").Index(j), h, utilvalidation.IsDNS1123Subdomain(h))...)
		}
	}
	return errs
}

// The resolver of the C library reads no more than this.
const (
	dnsNameserversMax      = 3
	dnsSearchPathsMax      = 32
	dnsSearchCharactersMax = 2048
)

func validateDNSConfig(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if s.DNSPolicy == corev1.DNSNone {
		if s.DNSConfig == nil {
			return field.ErrorList{field.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		}
		if len(s.DNSConfig.Nameservers) == 0 {
			return field.ErrorList{field.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))}
		}
	}
	c := s.DNSConfig
	if c == nil {
		return nil
	}
	if len(c.Nameservers) > dnsNameserversMax {
		errs = append(errs, field.Invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %v nameservers", dnsNameserversMax)))
	}
	for i, ip := range c.Nameservers {
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(path.Child("nameservers").Index(i), ip, false, nil)...)
	}
	if len(c.Searches) > dnsSearchPathsMax {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v search paths", dnsSearchPathsMax)))
	}
	characters := max(len(c.Searches)-1, 0)
	for i, d := range c.Searches {
		characters += len(d)
		if d == "." {
			continue
		}
		if n := len(d); n > 0 && d[n-1] == '.' {
			d = d[:n-1]
		}
		errs = append(errs, faults(path.Child("searches").Index(i), d, utilvalidation.IsDNS1123SubdomainWithUnderscore(d))...)
	}
	if characters > dnsSearchCharactersMax {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", dnsSearchCharactersMax)))
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}
