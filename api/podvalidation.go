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
	errs := validatePodBody(p)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if len(p.Spec.SchedulingGates) > 0 && p.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// validatePodAgain is for changes through a subresource.
func validatePodAgain(p, old *corev1.Pod) field.ErrorList {
	return keepAddresses(func(p, _ *corev1.Pod) field.ErrorList { return validatePodBody(p) })(p, old)
}

// validatePodBody checks what holds of a pod all its life.
func validatePodBody(p *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validatePodAnnotations(p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"))
	errs = append(errs, validatePodSpec(&p.Spec, spec)...)
	return append(errs, validateStandalone(p, spec)...)
}

// validateStandalone checks what is asked of pods and not of templates, which admission or a controller may yet complete.
func validateStandalone(p *corev1.Pod, spec *field.Path) (errs field.ErrorList) {
	for i := range p.Spec.InitContainers {
		errs = append(errs, validateImageText(p.Spec.InitContainers[i].Image, spec.Child("initContainers").Index(i))...)
	}
	for i := range p.Spec.Containers {
		errs = append(errs, validateImageText(p.Spec.Containers[i].Image, spec.Child("containers").Index(i))...)
	}
	for i := range p.Spec.Volumes {
		errs = append(errs, validateStandaloneVolume(p, &p.Spec.Volumes[i], spec.Child("volumes").Index(i))...)
	}
	for i, c := range p.Spec.ResourceClaims {
		if p.Name == "" || c.ResourceClaimTemplateName == nil || len(utilvalidation.IsDNS1123Label(c.Name)) > 0 {
			continue
		}
		name := p.Name + "-" + c.Name
		for _, msg := range validation.NameIsDNSSubdomain(name, false) {
			errs = append(errs, field.Invalid(spec.Child("resourceClaims").Index(i).Child("name"), name, "final ResourceClaim name: "+msg))
		}
	}
	return errs
}

func validateStandaloneVolume(p *corev1.Pod, v *corev1.Volume, path *field.Path) (errs field.ErrorList) {
	if v.Image != nil {
		errs = append(errs, required(v.Image.Reference, path.Child("image", "reference"))...)
	}
	if v.Projected != nil && p.Spec.ServiceAccountName == "" {
		for i, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(path.Child("projected", "sources").Index(i).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set"))
			}
		}
	}
	if v.Ephemeral != nil && p.Name != "" && v.Name != "" {
		claim := p.Name + "-" + v.Name
		for _, msg := range validation.NameIsDNSSubdomain(claim, false) {
			errs = append(errs, field.Invalid(path.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, msg)))
		}
	}
	return errs
}

// validateTemplate checks the pods-to-be of a kind that stamps pods. Labels and annotations are
// reported without "metadata" in the path, as Kubernetes does.
func validateTemplate(t *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, path.Child("labels"))...)
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, validatePodAnnotations(t.Annotations, &t.Spec, path.Child("annotations"))...)
	errs = append(errs, validatePodSpec(&t.Spec, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func validatePodSpec(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	volumes, errs := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, validatePodClaims(s.ResourceClaims, path.Child("resourceClaims"))...)
	errs = append(errs, validateContainers(s, volumes, path)...)
	errs = append(errs, requiredInOrder(s.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, requiredInOrder(s.DNSPolicy, path.Child("dnsPolicy"),
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, path)...)
	errs = append(errs, validateUserNamespace(s, path)...)
	errs = append(errs, validateAffinityRules(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateDNSConfig(s, path.Child("dnsConfig"))...)
	errs = append(errs, validateGates(s, path)...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateHostProcesses(s, path)...)
	errs = append(errs, validatePodNames(s, path)...)
	errs = append(errs, validateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateHostAliases(s.HostAliases, path.Child("hostAliases"))...)
	errs = append(errs, validatePodNumbers(s, path)...)
	if s.OS != nil {
		errs = append(errs, validatePodOS(s, path)...)
	}
	return errs
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
	if p := s.PreemptionPolicy; p != nil {
		errs = append(errs, requiredInOrder(*p, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	errs = append(errs, validateResources(&corev1.ResourceRequirements{Limits: s.Overhead}, path.Child("overhead"))...)
	if s.Resources != nil {
		errs = append(errs, validatePodResources(s, path)...)
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
	if s.HostnameOverride != nil {
		errs = append(errs, validateHostnameOverride(s, path.Child("hostnameOverride"))...)
	}
	return errs
}

// hostnameCharactersMax is what the kernel takes for a host's name.
const hostnameCharactersMax = 64

func validateHostnameOverride(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	name := *s.HostnameOverride
	errs = append(errs, faults(path, name, utilvalidation.IsDNS1123Subdomain(name))...)
	if len(name) > hostnameCharactersMax {
		errs = append(errs, field.TooLongMaxLength(path, name, hostnameCharactersMax))
	}
	if s.HostNetwork {
		errs = append(errs, field.Forbidden(path, "may not be specified when hostNetwork is true"))
	}
	if isTrue(s.SetHostnameAsFQDN) {
		errs = append(errs, field.Forbidden(path, "may not be specified when setHostnameAsFQDN is true"))
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
	return errs
}

func validateHostAliases(aliases []corev1.HostAlias, path *field.Path) (errs field.ErrorList) {
	for i, a := range aliases {
		at := path.Index(i)
		errs = append(errs, validateIP(at.Child("ip"), a.IP)...)
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
		errs = append(errs, validateIP(path.Child("nameservers").Index(i), ip)...)
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
