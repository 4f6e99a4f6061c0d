package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PreparePodResize keeps everything of a pod as it was but what the resize subresource changes: the resources of the pod and of its
// containers, and how they take a change. A pod whose containers are others than before is left as it was sent, and refused by
// ValidatePodResize.
func PreparePodResize(p, old *corev1.Pod) {
	sent := p.Spec
	if !sameNames(sent.Containers, old.Spec.Containers) || !sameNames(sent.InitContainers, old.Spec.InitContainers) {
		return
	}
	keepPod(p, old)
	p.Spec.Resources = sent.Resources
	resizeFrom(p.Spec.Containers, sent.Containers)
	resizeFrom(p.Spec.InitContainers, sent.InitContainers)
	dropDisabledPodFields(&p.Spec, &old.Spec)
}

func sameNames(a, b []corev1.Container) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}

func resizeFrom(to, from []corev1.Container) {
	for i := range to {
		to[i].Resources, to[i].ResizePolicy = from[i].Resources, from[i].ResizePolicy
	}
}

// ValidatePodResize lets cpu and memory change, of containers that run (so not of init containers that end) and of the pod as a
// whole, as long as the pod's class of service stays: the node has set up its control groups for that class.
func ValidatePodResize(p, old *corev1.Pod) field.ErrorList {
	switch root := field.NewPath(""); {
	case isStatic(old):
		return field.ErrorList{field.Forbidden(root, "static pods cannot be resized")}
	case old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows:
		return field.ErrorList{field.Forbidden(root, "windows pods cannot be resized")}
	}
	spec := field.NewPath("spec")
	errs := validatePodAgain(p, old)
	if qos := QOSClass(p); qos != givenClass(old) {
		errs = append(errs, field.Invalid(spec, qos, "Pod QOS Class may not change as a result of resizing"))
	}
	if !resizable(&old.Status) {
		errs = append(errs, field.Forbidden(spec, "Pod running on node without support for resize"))
	}
	if order := append(validateResizeOrder(p.Spec.Containers, old.Spec.Containers, "containers", spec),
		validateResizeOrder(p.Spec.InitContainers, old.Spec.InitContainers, "initContainers", spec)...); len(order) > 0 {
		return append(errs, order...)
	}
	return append(errs, validateResized(&p.Spec, &old.Spec, spec)...)
}

// givenClass is the class that the pod was given when it was made.
func givenClass(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	return QOSClass(p)
}

// resizable: a node that knows how to resize says what its running containers have.
func resizable(s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if c := &s.ContainerStatuses[i]; c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true // nothing runs yet, so nobody can tell
}

func validateResizeOrder(now, before []corev1.Container, list string, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child(list)
	if len(now) != len(before) {
		return field.ErrorList{field.Forbidden(path, list+" may not be added or removed on resize")}
	}
	for i := range before {
		if now[i].Name != before[i].Name {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), list+" may not be renamed or reordered on resize"))
		}
	}
	return errs
}

// validateResized carries what may change over from the old spec to a copy of the new one; whatever still differs may not.
func validateResized(now, before *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	rest := now.DeepCopy()
	for i := range rest.InitContainers {
		c, b, at := &rest.InitContainers[i], &before.InitContainers[i], spec.Child("initContainers").Index(i)
		errs = append(errs, resourcesStay(&now.InitContainers[i].Resources, &b.Resources, at.Child("resources"))...)
		detail := "resources for non-sidecar init containers are immutable"
		if sidecar(b) {
			takeResize(c, b)
			detail = "only cpu and memory resources for sidecar containers are mutable"
		}
		if !equality.Semantic.DeepEqual(*c, *b) {
			errs = append(errs, field.Forbidden(at, detail))
		}
	}
	rest.InitContainers = before.InitContainers
	for i := range rest.Containers {
		b, at := &before.Containers[i], spec.Child("containers").Index(i)
		errs = append(errs, resourcesStay(&now.Containers[i].Resources, &b.Resources, at.Child("resources"))...)
		takeResize(&rest.Containers[i], b)
	}
	if rest.Resources != nil && before.Resources != nil {
		errs = append(errs, resourcesStay(now.Resources, before.Resources, spec.Child("resources"))...)
		forgetCPUMemory(rest.Resources, before.Resources)
	}
	if !equality.Semantic.DeepEqual(*rest, *before) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf("only cpu and memory resources are mutable\n%v", diff.Diff(*rest, *before))))
	}
	return errs
}

// resourcesStay: what was asked for or limited can change its amount, and not go away.
func resourcesStay(now, before *corev1.ResourceRequirements, path *field.Path) (errs field.ErrorList) {
	if lacks(now.Requests, before.Requests) {
		errs = append(errs, field.Forbidden(path.Child("requests"), "resource requests cannot be removed"))
	}
	if lacks(now.Limits, before.Limits) {
		errs = append(errs, field.Forbidden(path.Child("limits"), "resource limits cannot be removed"))
	}
	return errs
}

func lacks(now, before corev1.ResourceList) bool {
	for name := range before {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

func takeResize(c, before *corev1.Container) {
	forgetCPUMemory(&c.Resources, &before.Resources)
	c.ResizePolicy = before.ResizePolicy
}

// forgetCPUMemory gives a copy of resources the cpu and memory that there were before.
func forgetCPUMemory(r, before *corev1.ResourceRequirements) {
	r.Requests = withCPUMemoryOf(r.Requests, before.Requests)
	r.Limits = withCPUMemoryOf(r.Limits, before.Limits)
}

func withCPUMemoryOf(list, before corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		out[name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := before[name]; ok {
			out[name] = q
		}
	}
	return out
}
