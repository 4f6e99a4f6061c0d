package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/api"
)

// priorityRule gives pods the priority of their class, and keeps the classes in order.
type priorityRule struct{ state }

func (r priorityRule) mutate(ctx context.Context, at admission.Attributes) error {
	if p, old := updated[corev1.Pod](at, podsResource); p != nil {
		api.KeepPriority(&p.Spec, &old.Spec)
		return nil
	}
	p := created[corev1.Pod](at, podsResource)
	if p == nil {
		return nil
	}
	if err := r.surely(ctx, func() error { return prioritise(p, r) }); err != nil {
		return admission.NewForbidden(at, err)
	}
	return nil
}

// prioritise leaves a pod that it refuses as it was.
func prioritise(p *corev1.Pod, facts Facts) error {
	lookup := func(name string) *schedulingv1.PriorityClass {
		c, _ := facts.Object(priorityClassesResource, "", name).(*schedulingv1.PriorityClass)
		return c
	}
	return api.ResolvePriority(&p.Spec, lookup, defaultPriority(facts))
}

func defaultPriority(facts Facts) *schedulingv1.PriorityClass {
	return api.GlobalDefaultPriorityClass(factsOf[*schedulingv1.PriorityClass](facts, priorityClassesResource, ""))
}

func (r priorityRule) validate(ctx context.Context, at admission.Attributes) error {
	if at.GetResource().GroupResource() != priorityClassesResource || at.GetSubresource() != "" {
		return nil
	}
	if at.GetOperation() == admission.Delete {
		if err := api.PriorityClassMayGo(at.GetName()); err != nil {
			return admission.NewForbidden(at, err)
		}
		return nil
	}
	c, ok := at.GetObject().(*schedulingv1.PriorityClass)
	if !ok {
		return nil
	}
	if err := r.surely(ctx, func() error { return api.CheckGlobalDefault(c, defaultPriority(r)) }); err != nil {
		return admission.NewForbidden(at, err)
	}
	return nil
}
