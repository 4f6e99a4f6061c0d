package kube

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/hooks"
)

// mutator fills in what depends on the cluster, or refuses a request before anything else looks at it.
type mutator interface {
	mutate(ctx context.Context, at admission.Attributes) error
}

// validator refuses an object as it would be stored, or a deletion.
type validator interface {
	validate(ctx context.Context, at admission.Attributes) error
}

// chain is the rules of admission, each in a file of its own, in the order in which Kubernetes asks them, and then what users have put
// behind them.
type chain struct {
	mutators   []mutator
	validators []validator
	hooks      *hooks.Hooks
	quota      quotaRule                  // last of all, so that it never counts what another rule refuses
	interfaces admission.ObjectInterfaces // for those who have none
}

var (
	_ admission.MutationInterface   = chain{}
	_ admission.ValidationInterface = chain{}
)

func newAdmission(store Store, asked authorizer.Authorizer, h *hooks.Hooks, o admission.ObjectInterfaces, stop <-chan struct{}) chain {
	s := state{store}
	return chain{
		hooks: h, interfaces: o, quota: newQuotaRule(s, stop),
		mutators: []mutator{
			namespaceRule{s}, limitRule{s}, accountRule{s}, kubeletRule{s, asked}, nodeRule{}, priorityRule{s}, tolerationRule{}, storageClassRule{s},
			storageProtectionRule{}, runtimeClassRule{s}, certificateRule{}, ingressClassRule{s}, topologyRule{s},
		},
		validators: []validator{namespaceRule{s}, limitRule{s}, newPodSecurityRule(s), priorityRule{s}, claimResizeRule{s}, runtimeClassRule{s}},
	}
}

// Handles says which operations the rules want to see.
func (chain) Handles(admission.Operation) bool { return true }

// Admit lets the rules change the object; the first that refuses it ends this. All are asked once more if a webhook wishes so: what it
// made of the object may want defaults again.
func (c chain) Admit(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if err := c.admit(ctx, at, o); err != nil {
		return err
	}
	again := at.GetReinvocationContext()
	if !again.ShouldReinvoke() {
		return nil
	}
	again.SetIsReinvoke()
	return c.admit(ctx, at, o)
}

func (c chain) admit(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if at.GetOperation() != admission.Connect { // which our own rules have no part in
		for _, m := range c.mutators {
			if err := m.mutate(ctx, at); err != nil {
				return err
			}
		}
	}
	return c.hooks.Admit(ctx, at, c.orOwn(o))
}

// Validate lets the rules look at what has become of the object.
func (c chain) Validate(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if at.GetOperation() != admission.Connect {
		for _, v := range c.validators {
			if err := v.validate(ctx, at); err != nil {
				return err
			}
		}
	}
	if err := c.hooks.Validate(ctx, at, c.orOwn(o)); err != nil {
		return err
	}
	return c.quota.validate(ctx, at)
}

func (c chain) orOwn(o admission.ObjectInterfaces) admission.ObjectInterfaces {
	if o == nil {
		return c.interfaces
	}
	return o
}

// created is the new object of a request that creates one of this resource; nil of every other request.
func created[T any](at admission.Attributes, gr schema.GroupResource) *T {
	if at.GetOperation() != admission.Create || at.GetSubresource() != "" || at.GetResource().GroupResource() != gr {
		return nil
	}
	o, _ := any(at.GetObject()).(*T)
	return o
}

// updated is the object of a request that changes one of this resource, as it will be and as it was; nil of every other request.
func updated[T any](at admission.Attributes, gr schema.GroupResource) (o, old *T) {
	if at.GetOperation() != admission.Update || at.GetSubresource() != "" || at.GetResource().GroupResource() != gr {
		return nil, nil
	}
	o, ok := any(at.GetObject()).(*T)
	old, was := any(at.GetOldObject()).(*T)
	if !ok || !was {
		return nil, nil
	}
	return o, old
}

// PreparePod makes of a controller's pod what it would have become on its way through the API: defaulted, admitted, prepared and
// validated, with the errors that the API would give. It looks at nothing but the pod, its account and the facts.
func PreparePod(p *corev1.Pod, account *corev1.ServiceAccount, facts Facts) error {
	k, name := api.KindFor(podsResource), cmp.Or(p.Name, p.GenerateName)
	k.Default(p)
	if err := admitPod(p, account, facts); err != nil {
		return apierrors.NewForbidden(podsResource, name, err)
	}
	k.PrepareForCreate(p)
	p.Generation = 1
	if errs := k.Validate(p); len(errs) > 0 {
		return apierrors.NewInvalid(k.GroupVersionKind().GroupKind(), name, distinct(errs))
	}
	return nil
}

// admitPod is what the rules of a chain do to a new pod, in the same order.
func admitPod(p *corev1.Pod, account *corev1.ServiceAccount, facts Facts) error {
	limitPod(p, facts)
	nameServiceAccount(p)
	giveAccount(p, account)
	if err := prioritise(p, facts); err != nil {
		return err
	}
	tolerateDeadNodes(p)
	if err := applyRuntimeClass(p, facts); err != nil {
		return err
	}
	if err := checkPodLimits(p, facts); err != nil {
		return err
	}
	if err := checkPodSecurity(p, facts); err != nil {
		return err
	}
	return checkOverhead(p, facts)
}
