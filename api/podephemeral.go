package api

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// isStatic: such a pod is run by a node from a file of its own; the API shows it and cannot change it.
func isStatic(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// keepPod makes p the pod that it was, but for what tells which pod, which state of it, and who wrote it. The subresources that
// change one part of a spec begin with it: a client sends the whole pod, and everything else in it is not heard.
func keepPod(p, old *corev1.Pod) {
	sent := p.ObjectMeta
	old.DeepCopyInto(p)
	p.Name, p.Namespace = sent.Name, sent.Namespace
	p.UID, p.ResourceVersion = sent.UID, sent.ResourceVersion
	p.ManagedFields = sent.ManagedFields
}

// PrepareEphemeralContainersUpdate keeps everything but the ephemeral containers as it was.
func PrepareEphemeralContainersUpdate(p, old *corev1.Pod) {
	list := p.Spec.EphemeralContainers
	keepPod(p, old)
	p.Spec.EphemeralContainers = list
	dropDisabledPodFields(&p.Spec, &old.Spec)
}

// ValidateEphemeralContainersUpdate is for the ephemeralcontainers subresource: containers for debugging can be added, and those that
// are there stay as they are. Their order is not kept by patches, so they are found by name.
func ValidateEphemeralContainersUpdate(p, old *corev1.Pod) field.ErrorList {
	if isStatic(old) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	path := field.NewPath("spec", "ephemeralContainers")
	errs := validatePodAgain(p, old)
	errs = append(errs, validatePodAnnotationsUpdate(p, old)...)
	for _, b := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(n corev1.EphemeralContainer) bool { return n.Name == b.Name })
		switch {
		case i < 0:
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", b.Name)))
		case !equality.Semantic.DeepEqual(b, p.Spec.EphemeralContainers[i]):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v",
				b.Name, diff.Diff(b, p.Spec.EphemeralContainers[i]))))
		}
	}
	return errs
}

// validateEphemeral: a container for debugging has no part in the service of its pod, and nothing that lets others rely on it.
func validateEphemeral(e *corev1.EphemeralContainer, s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	const detail = "cannot be set for an Ephemeral Container"
	errs = append(errs, validateImageText(e.Image, path)...)
	if t := e.TargetContainerName; t != "" && !hasContainer(s, t) {
		errs = append(errs, field.NotFound(path.Child("targetContainerName"), t))
	}
	for _, name := range fieldsOutside(&e.EphemeralContainerCommon, ephemeralFields) {
		errs = append(errs, field.Forbidden(path.Child(name), detail))
	}
	for i, m := range e.VolumeMounts {
		at := path.Child("volumeMounts").Index(i)
		if m.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("subPath"), detail))
		}
		if m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("subPathExpr"), detail))
		}
	}
	return errs
}

// ephemeralFields are what an ephemeral container can have. They are named one by one, so that a new field of containers is refused
// until someone has thought about it.
var ephemeralFields = []string{
	"name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
	"terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce", "tty",
}
