package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits on the rules by which a container restarts against its policy.
const (
	restartRulesMax     = 20
	restartRuleCodesMax = 255
)

// validateContainers checks the containers of all three lists; names are unique among all of them.
func validateContainers(s *corev1.PodSpec, volumes volumeNames, spec *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	unique := func(name string, at *field.Path) {
		if names.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		} else if name != "" {
			names.Insert(name)
		}
	}
	containers := spec.Child("containers")
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(containers, ""))
	}
	for i := range s.Containers {
		c, at := &s.Containers[i], containers.Index(i)
		errs = append(errs, validateContainer(c, s, volumes, at)...)
		errs = append(errs, validateRestart(c, at)...)
		errs = append(errs, validateProbes(c, s, at)...)
		unique(c.Name, at)
	}
	errs = append(errs, validateHostPorts(s.Containers, containers)...)
	for i := range s.InitContainers {
		c, at := &s.InitContainers[i], spec.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(c, s, volumes, at)...)
		errs = append(errs, validateInitContainer(c, s, at)...)
		errs = append(errs, validateHostPorts(s.InitContainers[i:i+1], spec.Child("initContainers"))...)
		unique(c.Name, at)
	}
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], spec.Child("ephemeralContainers").Index(i)
		errs = append(errs, validateContainer((*corev1.Container)(&e.EphemeralContainerCommon), s, volumes, at)...)
		errs = append(errs, validateEphemeral(e, s, at)...)
		unique(e.Name, at)
	}
	return errs
}

// validateContainer checks what containers of all kinds have in common.
func validateContainer(c *corev1.Container, s *corev1.PodSpec, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	if c.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		errs = append(errs, faults(path.Child("name"), c.Name, utilvalidation.IsDNS1123Label(c.Name))...)
	}
	errs = append(errs, required(c.Image, path.Child("image"))...)
	errs = append(errs, requiredInOrder(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validateContainerPorts(c.Ports, s.HostNetwork, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, volumes, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, volumes, path)...)
	errs = append(errs, validateDevices(c, volumes, path)...)
	errs = append(errs, requiredOneOf(c.ImagePullPolicy, path.Child("imagePullPolicy"),
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	errs = append(errs, validateClaimUses(c.Resources.Claims, s.ResourceClaims, path.Child("resources", "claims"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, s.RestartPolicy, path.Child("resizePolicy"))...)
	return append(errs, validateSecurityContext(c.SecurityContext, hostUsers(s), path.Child("securityContext"))...)
}

// validateImageText is not asked of templates: they could always hold such images.
func validateImageText(image string, path *field.Path) field.ErrorList {
	if strings.TrimSpace(image) == image {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("image"), image, "must not have leading or trailing whitespace")}
}

// validateResizePolicy: in a pod that never restarts a container, a resize cannot either.
func validateResizePolicy(list []corev1.ContainerResizePolicy, restart corev1.RestartPolicy, path *field.Path) (errs field.ErrorList) {
	seen := sets.New[corev1.ResourceName]()
	for i, p := range list {
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		errs = append(errs, requiredOneOf(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, requiredOneOf(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if restart == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

// validateRestart checks a container's own restart policy and the rules that override it.
func validateRestart(c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	if p := c.RestartPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	if len(c.RestartPolicyRules) == 0 {
		return errs
	}
	if c.RestartPolicy == nil {
		errs = append(errs, field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	rules := path.Child("restartPolicyRules")
	if n := len(c.RestartPolicyRules); n > restartRulesMax {
		errs = append(errs, field.TooMany(rules, n, restartRulesMax))
	}
	for i := range c.RestartPolicyRules {
		errs = append(errs, validateRestartRule(&c.RestartPolicyRules[i], rules.Index(i))...)
	}
	return errs
}

func validateRestartRule(r *corev1.ContainerRestartRule, path *field.Path) field.ErrorList {
	errs := requiredOneOf(r.Action, path.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
	codes := path.Child("exitCodes")
	if r.ExitCodes == nil {
		return append(errs, field.Required(codes, "must be specified"))
	}
	errs = append(errs, requiredOneOf(r.ExitCodes.Operator, codes.Child("operator"),
		corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
	if n := len(r.ExitCodes.Values); n > restartRuleCodesMax {
		errs = append(errs, field.TooMany(codes.Child("values"), n, restartRuleCodesMax))
	}
	return errs
}

// validateInitContainer: those that end have no life to look after; those that restart always live like the others.
func validateInitContainer(c *corev1.Container, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateRestart(c, path)
	if sidecar(c) {
		return append(errs, validateProbes(c, s, path)...)
	}
	const detail = "may not be set for init containers without restartPolicy=Always"
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), detail))
		}
	}
	forbid(c.Lifecycle != nil, "lifecycle")
	forbid(c.LivenessProbe != nil, "livenessProbe")
	forbid(c.ReadinessProbe != nil, "readinessProbe")
	forbid(c.StartupProbe != nil, "startupProbe")
	if len(c.ResizePolicy) > 0 {
		errs = append(errs, field.Invalid(path.Child("resizePolicy"), c.ResizePolicy, "must not be set for init containers"))
	}
	return errs
}

func validateContainerPorts(ports []corev1.ContainerPort, hostNetwork bool, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if msgs := utilvalidation.IsValidPortName(p.Name); len(msgs) > 0 {
				errs = append(errs, faults(at.Child("name"), p.Name, msgs)...)
			} else if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, faults(at.Child("containerPort"), p.ContainerPort, utilvalidation.IsValidPortNum(int(p.ContainerPort)))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, faults(at.Child("hostPort"), p.HostPort, utilvalidation.IsValidPortNum(int(p.HostPort)))...)
		}
		if hostNetwork && p.HostPort != 0 && p.HostPort != p.ContainerPort { // a pod's port is defaulted, a template's stays 0
			errs = append(errs, field.Invalid(at.Child("containerPort"), p.ContainerPort, "must match `hostPort` when `hostNetwork` is true"))
		}
		errs = append(errs, requiredOneOf(p.Protocol, at.Child("protocol"), sets.List(protocols)...)...)
	}
	return errs
}

// validateHostPorts: two containers cannot listen on the same port of the node.
func validateHostPorts(list []corev1.Container, path *field.Path) (errs field.ErrorList) {
	taken := sets.New[string]()
	for i := range list {
		for j, p := range list[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if taken.Has(key) {
				errs = append(errs, field.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
			taken.Insert(key)
		}
	}
	return errs
}

func validateMounts(c *corev1.Container, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	places := sets.New[string]()
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], path.Child("volumeMounts").Index(i)
		switch _, known := volumes[m.Name]; {
		case m.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case !known:
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		switch {
		case m.MountPath == "":
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		case places.Has(m.MountPath):
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		places.Insert(m.MountPath)
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, validateSubPath(m, at)...)
		errs = append(errs, validatePropagation(m, c, at)...)
	}
	return errs
}

// validateDevices: only claims can be handed to a container as block devices, and each in one place.
func validateDevices(c *corev1.Container, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	names, places := sets.New[string](), sets.New[string]()
	for i, d := range c.VolumeDevices {
		at := path.Child("volumeDevices").Index(i)
		name, place := at.Child("name"), at.Child("devicePath")
		if d.Name == "" {
			errs = append(errs, field.Required(name, ""))
		} else if names.Has(d.Name) {
			errs = append(errs, field.Invalid(name, d.Name, "must be unique"))
		}
		names.Insert(d.Name)
		if v, known := volumes[d.Name]; !known {
			errs = append(errs, field.NotFound(name, d.Name))
		} else if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			errs = append(errs, field.Invalid(name, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		switch {
		case d.DevicePath == "":
			errs = append(errs, field.Required(place, ""))
		case places.Has(d.DevicePath):
			errs = append(errs, field.Invalid(place, d.DevicePath, "must be unique"))
		case len(validateNoBacksteps(d.DevicePath, place)) > 0:
			errs = append(errs, field.Invalid(place, d.DevicePath, "can not contain backsteps ('..')"))
		}
		places.Insert(d.DevicePath)
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == d.Name }) {
			errs = append(errs, field.Invalid(name, d.Name, "must not already exist in volumeMounts"))
		}
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == d.DevicePath }) {
			errs = append(errs, field.Invalid(place, d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}

func validateSubPath(m *corev1.VolumeMount, at *field.Path) (errs field.ErrorList) {
	if m.SubPath != "" {
		errs = append(errs, validateDescending(m.SubPath, at.Child("subPath"))...)
	}
	if m.SubPathExpr != "" {
		if m.SubPath != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, validateDescending(m.SubPathExpr, at.Child("subPathExpr"))...)
	}
	return errs
}

func validatePropagation(m *corev1.VolumeMount, c *corev1.Container, at *field.Path) (errs field.ErrorList) {
	if p := m.MountPropagation; p != nil {
		path := at.Child("mountPropagation")
		errs = append(errs, oneOf(*p, path, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		privileged := c.SecurityContext != nil && isTrue(c.SecurityContext.Privileged)
		if *p == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	return append(errs, validateRecursion(m, at.Child("recursiveReadOnly"))...)
}

// validateRecursion: a mount that others may mount below cannot be read-only all the way down.
func validateRecursion(m *corev1.VolumeMount, path *field.Path) (errs field.ErrorList) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return nil
	}
	if errs := oneOf(*m.RecursiveReadOnly, path, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible); len(errs) > 0 {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(path, "may only be specified when readOnly is true"))
	}
	if p := m.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(path, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

// validateDescending: a relative path that cannot climb out.
func validateDescending(p string, path *field.Path) field.ErrorList {
	if strings.HasPrefix(p, "/") {
		return field.ErrorList{field.Invalid(path, p, "must be a relative path")}
	}
	return validateNoBacksteps(p, path)
}

func validateNoBacksteps(p string, path *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
	}
	return nil
}
