package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
)

// runtimeClassRule gives pods what their RuntimeClass costs and where it is to be had.
type runtimeClassRule struct{ state }

func (r runtimeClassRule) mutate(ctx context.Context, at admission.Attributes) error {
	return r.decide(ctx, at, applyRuntimeClass)
}

func (r runtimeClassRule) validate(ctx context.Context, at admission.Attributes) error {
	return r.decide(ctx, at, checkOverhead)
}

func (r runtimeClassRule) decide(ctx context.Context, at admission.Attributes, rule func(*corev1.Pod, Facts) error) error {
	p := created[corev1.Pod](at, podsResource)
	if p == nil {
		return nil
	}
	if err := r.surely(ctx, func() error { return rule(p, r) }); err != nil {
		return admission.NewForbidden(at, err)
	}
	return nil
}

var errOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// runtimeClassOf is the class that a pod names; nil if it names none.
func runtimeClassOf(p *corev1.Pod, facts Facts) (*nodev1.RuntimeClass, error) {
	if p.Spec.RuntimeClassName == nil {
		return nil, nil
	}
	c, ok := facts.Object(runtimeClassesResource, "", *p.Spec.RuntimeClassName).(*nodev1.RuntimeClass)
	if !ok {
		return nil, fmt.Errorf("pod rejected: RuntimeClass %q not found", *p.Spec.RuntimeClassName)
	}
	return c, nil
}

// applyRuntimeClass leaves a pod that it refuses as it was.
func applyRuntimeClass(p *corev1.Pod, facts Facts) error {
	c, err := runtimeClassOf(p, facts)
	if err != nil || c == nil {
		return err
	}
	if c.Overhead != nil && p.Spec.Overhead != nil && !equality.Semantic.DeepEqual(c.Overhead.PodFixed, p.Spec.Overhead) {
		return errOverhead
	}
	if c.Scheduling != nil {
		if err := addScheduling(&p.Spec, c.Scheduling); err != nil {
			return err
		}
	}
	if c.Overhead != nil {
		p.Spec.Overhead = c.Overhead.PodFixed.DeepCopy()
	}
	return nil
}

func addScheduling(s *corev1.PodSpec, add *nodev1.Scheduling) error {
	for _, key := range slices.Sorted(maps.Keys(add.NodeSelector)) {
		if own, ok := s.NodeSelector[key]; ok && own != add.NodeSelector[key] {
			return fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, add.NodeSelector[key], key, own)
		}
	}
	if len(add.NodeSelector) > 0 {
		merged := maps.Clone(add.NodeSelector)
		maps.Copy(merged, s.NodeSelector)
		s.NodeSelector = merged
	}
	s.Tolerations = mergeTolerations(slices.Concat(s.Tolerations, add.Tolerations))
	return nil
}

// mergeTolerations drops what another of the list tolerates as well; of equal ones the first stays.
func mergeTolerations(all []corev1.Toleration) (out []corev1.Toleration) {
	for i, t := range all {
		needless := slices.ContainsFunc(out, func(u corev1.Toleration) bool { return covers(u, t) }) ||
			slices.ContainsFunc(all[i+1:], func(u corev1.Toleration) bool { return covers(u, t) && !covers(t, u) })
		if !needless {
			out = append(out, *t.DeepCopy())
		}
	}
	return out
}

// covers says whether the first tolerates all that the second does, and for as long.
func covers(a, b corev1.Toleration) bool {
	switch {
	case equality.Semantic.DeepEqual(a, b):
		return true
	case a.Key != b.Key && (a.Key != "" || a.Operator != corev1.TolerationOpExists),
		a.Effect != b.Effect && a.Effect != "":
		return false
	case a.Effect == corev1.TaintEffectNoExecute && a.TolerationSeconds != nil &&
		(b.TolerationSeconds == nil || *b.TolerationSeconds > *a.TolerationSeconds):
		return false
	}
	if a.Operator == corev1.TolerationOpExists {
		return true
	}
	return a.Operator == b.Operator && a.Value == b.Value
}

// checkOverhead refuses a pod that says of itself what only its class may say.
func checkOverhead(p *corev1.Pod, facts Facts) error {
	c, err := runtimeClassOf(p, facts)
	switch {
	case err != nil:
		return err
	case c != nil && c.Overhead != nil:
		if !equality.Semantic.DeepEqual(c.Overhead.PodFixed, p.Spec.Overhead) {
			return errOverhead
		}
	case p.Spec.Overhead != nil:
		return errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	return nil
}
