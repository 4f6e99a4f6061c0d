package hooks

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
)

// hook is a webhook that is behind a service.
type hook struct {
	configuration, name string
	service             admissionv1.ServiceReference
}

// servicesOf are the webhooks of configurations that are behind services.
func servicesOf(list []runtime.Object) (out []hook) {
	add := func(configuration, name string, c *admissionv1.WebhookClientConfig) {
		if c.Service != nil {
			out = append(out, hook{configuration, name, *c.Service})
		}
	}
	for _, o := range list {
		switch c := o.(type) {
		case *admissionv1.MutatingWebhookConfiguration:
			for i := range c.Webhooks {
				add(c.Name, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig)
			}
		case *admissionv1.ValidatingWebhookConfiguration:
			for i := range c.Webhooks {
				add(c.Name, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig)
			}
		}
	}
	return out
}

// circular are those webhooks that would be asked about what they themselves run in while nothing of them runs: a pod that the webhook's
// service selects, or a workload whose pods it selects. Who waited for their answer would wait for ever.
func (h *Hooks) circular(at admission.Attributes, list []hook) (out []hook) {
	if len(list) == 0 || at.GetOperation() != admission.Create && at.GetOperation() != admission.Update {
		return nil
	}
	own := podLabels(at.GetObject())
	if own == nil {
		return nil
	}
	for _, w := range list {
		if w.service.Namespace == at.GetNamespace() && h.selects(&w.service, own) && !h.alive(&w.service) {
			out = append(out, w)
		}
	}
	return out
}

func (h *Hooks) selects(ref *admissionv1.ServiceReference, own labels.Set) bool {
	s, ok := h.config.State.Object(schema.GroupResource{Resource: "services"}, ref.Namespace, ref.Name).(*corev1.Service)
	return ok && len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(own)
}

func (h *Hooks) alive(ref *admissionv1.ServiceReference) bool {
	_, err := h.config.Services.Endpoint(ref.Namespace, ref.Name, portOf(ref))
	return err == nil
}

func portOf(ref *admissionv1.ServiceReference) int32 {
	if ref.Port == nil {
		return 443
	}
	return *ref.Port
}

// podLabels are those of a pod, or of the pods of a workload; nil of anything else.
func podLabels(o runtime.Object) labels.Set {
	set := func(m map[string]string) labels.Set {
		if m == nil {
			return labels.Set{}
		}
		return m
	}
	switch o := o.(type) {
	case *corev1.Pod:
		return set(o.Labels)
	case *appsv1.Deployment:
		return set(o.Spec.Template.Labels)
	case *appsv1.ReplicaSet:
		return set(o.Spec.Template.Labels)
	case *appsv1.StatefulSet:
		return set(o.Spec.Template.Labels)
	case *appsv1.DaemonSet:
		return set(o.Spec.Template.Labels)
	case *batchv1.Job:
		return set(o.Spec.Template.Labels)
	}
	return nil
}

func warnOfCircle(ctx context.Context, list []hook) {
	for _, w := range list {
		warning.AddWarning(ctx, "", fmt.Sprintf("webhook %q of %q was not asked: service %s/%s has no ready endpoint, and this is what the webhook itself runs in", w.name, w.configuration, w.service.Namespace, w.service.Name))
		audit.AddAuditAnnotation(ctx, "webhook.admission.peapod.sh/skipped", w.configuration+"/"+w.name)
	}
}
