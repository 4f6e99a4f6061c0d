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
		unique(c.Name, at)
	}
	errs = append(errs, validateHostPorts(s.Containers, containers)...)
	for i := range s.InitContainers {
		c, at := &s.InitContainers[i], spec.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(c, s, volumes, at)...)
		errs = append(errs, validateInitContainer(c, at)...)
		errs = append(errs, validateHostPorts(s.InitContainers[i:i+1], spec.Child("initContainers"))...)
		unique(c.Name, at)
	}
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], spec.Child("ephemeralContainers").Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, validateContainer(&c, s, volumes, at)...)
		errs = append(errs, validateEphemeral(e, s, at)...)
		unique(c.Name, at)
	}
	return errs
}

func validateContainer(c *corev1.Container, s *corev1.PodSpec, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	if c.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		errs = append(errs, faults(path.Child("name"), c.Name, utilvalidation.IsDNS1123Label(c.Name))...)
	}
	switch {
	case c.Image == "":
		errs = append(errs, field.Required(path.Child("image"), ""))
	case strings.TrimSpace(c.Image) != c.Image:
		errs = append(errs, field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, requiredOneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validateContainerPorts(c.Ports, s.HostNetwork, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, volumes, path)...)
	errs = append(errs, requiredOneOf(c.ImagePullPolicy, path.Child("imagePullPolicy"),
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, path.Child("resizePolicy"))...)
	errs = append(errs, validateSecurityContext(c.SecurityContext, path.Child("securityContext"))...)
	return append(errs, validateProbes(c, s, path)...)
}

func validateResizePolicy(list []corev1.ContainerResizePolicy, path *field.Path) (errs field.ErrorList) {
	seen := sets.New[corev1.ResourceName]()
	for _, p := range list {
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(path, p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		errs = append(errs, requiredOneOf(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, requiredOneOf(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
	}
	return errs
}

// validateRestart checks a container's own restart policy and the rules that override it.
func validateRestart(c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	if p := c.RestartPolicy; p != nil {
		errs = append(errs, requiredOneOf(*p, path.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	if len(c.RestartPolicyRules) > 0 && c.RestartPolicy == nil {
		errs = append(errs, field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	return errs
}

func validateInitContainer(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := validateRestart(c, path)
	if sidecar(c) {
		return errs
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
	return errs
}

func validateEphemeral(e *corev1.EphemeralContainer, s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	const detail = "cannot be set for an Ephemeral Container"
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), detail))
		}
	}
	forbid(len(e.Ports) > 0, "ports")
	forbid(e.Lifecycle != nil, "lifecycle")
	forbid(e.LivenessProbe != nil, "livenessProbe")
	forbid(e.ReadinessProbe != nil, "readinessProbe")
	forbid(e.StartupProbe != nil, "startupProbe")
	forbid(len(e.Resources.Requests)+len(e.Resources.Limits)+len(e.Resources.Claims) > 0, "resources")
	forbid(e.RestartPolicy != nil, "restartPolicy")
	if t := e.TargetContainerName; t != "" && !hasContainer(s, t) {
		errs = append(errs, field.NotFound(path.Child("targetContainerName"), t))
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
		if hostNetwork && p.HostPort != p.ContainerPort {
			errs = append(errs, field.Invalid(at.Child("containerPort"), p.ContainerPort, "must match `hostPort` when `hostNetwork` is true"))
		}
		errs = append(errs, requiredOneOf(p.Protocol, at.Child("protocol"), sets.List(protocols)...)...)
		if p.HostIP != "" {
			errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("hostIP"), p.HostIP, false, nil)...)
		}
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
		errs = append(errs, validateSubPath(m, at)...)
		errs = append(errs, validatePropagation(m, c, at)...)
	}
	for i, d := range c.VolumeDevices {
		at := path.Child("volumeDevices").Index(i)
		switch v, known := volumes[d.Name]; {
		case d.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case !known:
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		} else if places.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist in volumeMounts"))
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
	if r := m.RecursiveReadOnly; r != nil {
		path := at.Child("recursiveReadOnly")
		errs = append(errs, oneOf(*r, path, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)...)
		if *r != corev1.RecursiveReadOnlyDisabled && !m.ReadOnly {
			errs = append(errs, field.Forbidden(path, "may only be specified when readOnly is true"))
		}
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
