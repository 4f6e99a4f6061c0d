package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// eviction is deletion that asks the pod's disruption budget first.
type eviction struct {
	store *registry.Store
	state state
}

var (
	_ rest.NamedCreater             = (*eviction)(nil)
	_ rest.GroupVersionKindProvider = (*eviction)(nil)
)

func (e *eviction) New() runtime.Object { return &policyv1.Eviction{} }
func (e *eviction) Destroy()            {}

// GroupVersionKind names the kind for discovery, where kubectl drain looks for it.
func (e *eviction) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

func (e *eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	ev, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected an Eviction, got %T", obj))
	}
	if ev.Name != "" && ev.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if validate != nil {
		if err := validate(ctx, ev.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if errs := api.ValidateEviction(ev); len(errs) > 0 {
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), name, errs)
	}
	opts, err := api.EvictionDeleteOptions(ev, o)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return e.evict(ctx, name, opts)
}

// evict reads the pod until what was decided about it still holds when it is deleted.
func (e *eviction) evict(ctx context.Context, name string, o *metav1.DeleteOptions) (runtime.Object, error) {
	for attempt := 1; ; attempt++ {
		status, err := e.tryEvict(ctx, name, o.DeepCopy())
		if err == nil || !apierrors.IsConflict(err) || attempt == writeAttemptsMax || pinsRevision(o) {
			return status, err
		}
	}
}

// pinsRevision says that the caller speaks of one state of the pod only.
func pinsRevision(o *metav1.DeleteOptions) bool {
	return o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
}

func (e *eviction) tryEvict(ctx context.Context, name string, o *metav1.DeleteOptions) (*metav1.Status, error) {
	got, err := e.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p := got.(*corev1.Pod)
	if err := holds(p, o); err != nil {
		return nil, err // before it costs a budget anything
	}
	free, err := e.allowed(ctx, p, dryrun.IsDryRun(o.DryRun))
	if err != nil {
		return nil, err
	}
	if free && !over(p) && !pinsRevision(o) {
		pin(o, p.ResourceVersion) // what was seen of the pod must still be so when it goes
	}
	if err := e.mark(ctx, p, o); err != nil {
		return nil, err
	}
	if _, _, err := e.store.Delete(ctx, name, rest.ValidateAllObjectFunc, o); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

func pin(o *metav1.DeleteOptions, revision string) {
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &revision
}

// holds checks the caller's preconditions.
func holds(p *corev1.Pod, o *metav1.DeleteOptions) error {
	refuse := func(what string, want, have any) error {
		return apierrors.NewConflict(podsResource, p.Name, fmt.Errorf("the %s in the precondition (%v) does not match the %s in record (%v)", what, want, what, have))
	}
	switch pre := o.Preconditions; {
	case pre == nil:
	case pre.UID != nil && *pre.UID != p.UID:
		return refuse("UID", *pre.UID, p.UID)
	case pre.ResourceVersion != nil && *pre.ResourceVersion != p.ResourceVersion:
		return refuse("ResourceVersion", *pre.ResourceVersion, p.ResourceVersion)
	}
	return nil
}

// over says that the pod does no work any more, so that its end disrupts nothing.
func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// allowed asks the pod's budget, and takes the disruption from it. free says that it cost none: there is no budget, or the pod counts
// for nothing in it.
func (e *eviction) allowed(ctx context.Context, p *corev1.Pod, trial bool) (free bool, err error) {
	if over(p) || p.Status.Phase == corev1.PodPending {
		return true, nil
	}
	switch budgets := e.budgetsOf(p); {
	case len(budgets) == 0:
		return false, nil
	case len(budgets) > 1:
		return false, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonInternalError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}
	case !api.PodReady(&p.Status) && sparesUnhealthy(budgets[0]):
		return true, nil
	default:
		return false, e.spend(ctx, budgets[0], p.Name, trial)
	}
}

func (e *eviction) budgetsOf(p *corev1.Pod) (out []*policyv1.PodDisruptionBudget) {
	for _, b := range factsOf[*policyv1.PodDisruptionBudget](e.state, budgetsResource, p.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(p.Labels)) {
			out = append(out, b)
		}
	}
	return out
}

// sparesUnhealthy says whether pods that are not ready may go without asking: always, or while enough others are healthy.
func sparesUnhealthy(b *policyv1.PodDisruptionBudget) bool {
	if policy := b.Spec.UnhealthyPodEvictionPolicy; policy != nil && *policy == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// spend takes one disruption from the budget, with the budget's revision, so that two evictions never take the same one.
func (e *eviction) spend(ctx context.Context, b *policyv1.PodDisruptionBudget, pod string, trial bool) error {
	for range writeAttemptsMax {
		next, err := api.SpendDisruption(b, pod, time.Now())
		if err != nil || trial {
			return err
		}
		results, err := e.state.Propose(ctx, &ops.Put{Resource: budgetsResource, Object: next, Expect: revisionOf(b)})
		if err != nil {
			return unavailable(budgetsResource, "update", err)
		}
		if results[0].OK() {
			return nil
		}
		again, ok := e.state.Get(budgetsResource, b.Namespace, b.Name)
		if !ok {
			return nil // the budget is gone, and with it the limit
		}
		b = again.(*policyv1.PodDisruptionBudget)
	}
	return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", b.Name), 10)
}

// mark says in the pod's status why it goes, and moves a pinned revision to that of the status.
func (e *eviction) mark(ctx context.Context, p *corev1.Pod, o *metav1.DeleteOptions) error {
	if dryrun.IsDryRun(o.DryRun) {
		return nil
	}
	say := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		next := old.DeepCopyObject().(*corev1.Pod)
		if next.UID != p.UID {
			return nil, apierrors.NewConflict(podsResource, p.Name, fmt.Errorf("the pod is another one, with UID %s", next.UID))
		}
		if err := holds(next, o); err != nil {
			return nil, err
		}
		api.SetPodCondition(&next.Status, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
			Message: "Eviction API: evicting", ObservedGeneration: next.Generation, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))})
		return next, nil
	}
	done, _, err := systemUpdate(e.store).Update(ctx, p.Name, rest.DefaultUpdatedObjectInfo(nil, say), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err == nil && pinsRevision(o) {
		pin(o, accessor(done).GetResourceVersion())
	}
	return err
}
