package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// FencingAnnotation of a pod says whether it is stopped on a node that hears of no leader, and may be replaced then: "on" or
	// "off". Without it that is so for pods that must not run twice and can run elsewhere.
	FencingAnnotation = "peapod.sh/fencing"
	// NodeFencesAnnotation is a node's word that it stops such pods, "true".
	NodeFencesAnnotation = "peapod.sh/fences"
	// FencedCondition of a pod is there once its node guards it: True while it is stopped for want of a leader.
	FencedCondition corev1.PodConditionType = "peapod.sh/Fenced"
)

// Replacement says what may be done for a pod whose node is dead or cut off.
type Replacement uint8

// Replacements. A pod that moves at once is one of many equal ones. One that moves fenced must not run twice: its node has to
// stop it first.
const (
	Stays Replacement = iota
	MovesAtOnce
	MovesFenced
)

// Storage reads what a pod's replacement depends on. What is not there is nil.
type Storage interface {
	Claim(namespace, name string) (*corev1.PersistentVolumeClaim, error)
	Volume(name string) (*corev1.PersistentVolume, error)
}

// ReplacementOf decides by the pod, its claims and their volumes: node and leader come to the same answer.
func ReplacementOf(pod *corev1.Pod, from Storage) (Replacement, error) {
	w := metav1.GetControllerOfNoCopy(pod)
	if w == nil {
		return Stays, nil
	}
	once, pinned, err := holds(pod, from)
	if err != nil || pinned {
		return Stays, err
	}
	switch asked := pod.Annotations[FencingAnnotation]; {
	case asked == "on" && w.Kind != "DaemonSet":
		return MovesFenced, nil
	case w.Kind == "StatefulSet", once && interchangeable(w.Kind):
		if asked == "off" {
			return Stays, nil
		}
		return MovesFenced, nil
	case interchangeable(w.Kind):
		return MovesAtOnce, nil
	}
	return Stays, nil
}

// interchangeable says whether the controllers of a kind make equal pods.
func interchangeable(kind string) bool {
	return kind == "ReplicaSet" || kind == "ReplicationController" || kind == "Job"
}

// holds says whether the pod has a claim that one writer may have at a time, and whether a volume ties it to one node.
func holds(pod *corev1.Pod, from Storage) (once, pinned bool, err error) {
	for i := range pod.Spec.Volumes {
		s := pod.Spec.Volumes[i].PersistentVolumeClaim
		if s == nil {
			continue // an ephemeral volume's claim ends with its pod
		}
		c, err := from.Claim(pod.Namespace, s.ClaimName)
		if err != nil {
			return false, false, err
		}
		if c == nil {
			continue
		}
		once = once || OneWriter(c.Spec.AccessModes)
		v, err := from.Volume(c.Spec.VolumeName)
		if err != nil {
			return false, false, err
		}
		pinned = pinned || v != nil && VolumeNode(v) != ""
	}
	return once, pinned, nil
}

// OneWriter says whether a claim with these access modes may be used on one node at a time.
func OneWriter(modes []corev1.PersistentVolumeAccessMode) (once bool) {
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteMany:
			return false
		case corev1.ReadWriteOnce, corev1.ReadWriteOncePod:
			once = true
		}
	}
	return once
}
