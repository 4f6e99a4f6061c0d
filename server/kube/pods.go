package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/api"
)

// newPods makes the storages of pods: their graceful deletion and their subresources.
func (s *Server) newPods(r resource, out served) rest.Storage {
	st := podStrategy{newStrategy(r.kind)}
	r.Store.DeleteStrategy = st
	r.Store.ReturnDeletedObject = true
	bind := binding{r.Store, state{s.config.Store}}
	out["pods/binding"] = &bind
	out["bindings"] = oldBinding{bind}
	out["pods/eviction"] = &eviction{r.Store, state{s.config.Store}}
	connect := streams{store: r.Store, nodes: s.config.Nodes}
	out["pods/log"] = &podLog{connect}
	out["pods/exec"] = &podExec{connect}
	out["pods/attach"] = &podAttach{connect}
	out["pods/portforward"] = &podPortForward{connect}
	out["pods/proxy"] = s.podProxy(r.Store)
	for name, st := range map[string]podPart{"ephemeralcontainers": newEphemeralStrategy(r.kind), "resize": newResizeStrategy(r.kind)} {
		out["pods/"+name] = part{withStrategy(r.Store, st, st)}
	}
	return newPodLister(r)
}

// podStrategy deletes pods gracefully.
type podStrategy struct{ strategy }

var _ rest.RESTGracefulDeleteStrategy = podStrategy{}

// CheckGracefulDelete settles how long the pod has to end: what the caller says, else what its spec
// says. One that runs nowhere has nothing to end.
func (podStrategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, o *metav1.DeleteOptions) bool {
	if o == nil {
		return false
	}
	p := obj.(*corev1.Pod)
	var seconds int64
	switch {
	case o.GracePeriodSeconds != nil:
		seconds = *o.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		seconds = 0
	}
	if seconds < 0 {
		seconds = 1 // a negative period is an old way to say "at once, but with a signal"
	}
	o.GracePeriodSeconds = &seconds
	return true
}

// binding is the subresource by which a scheduler gives a pod its node.
type binding struct {
	store *registry.Store
	state state
}

var (
	_ rest.NamedCreater                   = (*binding)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*binding)(nil)
)

func (b *binding) New() runtime.Object { return &corev1.Binding{} }
func (b *binding) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID in a binding, which is a precondition.
func (b *binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

func (b *binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	bind, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Binding, got %T", obj))
	}
	if errs := api.ValidateBinding(bind); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	if bind.Name != "" && bind.Name != name {
		return nil, apierrors.NewBadRequest("the name in the binding is not that of the pod")
	}
	if validate != nil {
		if err := validate(ctx, bind.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	assign := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		p := old.DeepCopyObject().(*corev1.Pod)
		if err := bindPod(p, bind, metav1.NewTime(time.Now().Truncate(time.Second))); err != nil {
			return p, err
		}
		b.state.copyTopology(p, bind.Target.Name)
		return p, nil
	}
	_, _, err := systemUpdate(b.store).Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, assign), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{DryRun: o.DryRun})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// oldBinding is the same as a resource of its own, which names the pod in its body.
type oldBinding struct{ b binding }

var _ rest.Creater = oldBinding{}

func (o oldBinding) New() runtime.Object     { return o.b.New() }
func (o oldBinding) Destroy()                {}
func (o oldBinding) NamespaceScoped() bool   { return true }
func (o oldBinding) GetSingularName() string { return "binding" }

func (o oldBinding) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	return o.b.Create(ctx, accessor(obj).GetName(), obj, validate, opts)
}

func bindPod(p *corev1.Pod, b *corev1.Binding, now metav1.Time) error {
	refuse := func(format string, args ...any) error {
		return apierrors.NewConflict(corev1.Resource("pods/binding"), p.Name, fmt.Errorf(format, args...))
	}
	switch {
	case b.UID != "" && b.UID != p.UID:
		return refuse("the pod is another one, with UID %s", p.UID)
	case p.DeletionTimestamp != nil:
		return refuse("pod %s is being deleted, cannot be assigned to a host", p.Name)
	case p.Spec.NodeName != "":
		return refuse("pod %s is already assigned to node %q", p.Name, p.Spec.NodeName)
	case len(p.Spec.SchedulingGates) > 0:
		return refuse("pod %s has non-empty .spec.schedulingGates", p.Name)
	}
	p.Spec.NodeName = b.Target.Name
	for k, v := range b.Annotations {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, k, v)
	}
	setPodCondition(&p.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now})
	return nil
}

func setPodCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	for i := range s.Conditions {
		if s.Conditions[i].Type == c.Type {
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// systemUpdate is a store without the rules for users' updates.
func systemUpdate(s *registry.Store) *registry.Store {
	k := api.KindFor(s.DefaultQualifiedResource)
	return withStrategy(s, systemStrategy{newStrategy(k)}, nil)
}

// systemStrategy takes what it gets.
type systemStrategy struct{ strategy }

func (systemStrategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (systemStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
