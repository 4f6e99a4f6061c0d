package kube

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// scale is the scale subresource: the replica count of a workload as an autoscaling/v1 Scale.
type scale struct {
	store *registry.Store
	kind  *api.Kind
}

var (
	_ rest.Patcher                  = (*scale)(nil)
	_ rest.GroupVersionKindProvider = (*scale)(nil)
)

func (s *scale) New() runtime.Object { return &autoscalingv1.Scale{} }
func (s *scale) Destroy()            {}

// GroupVersionKind names the kind for discovery, where kubectl scale looks for it.
func (s *scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (s *scale) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return s.read(obj)
}

func (s *scale) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := s.store.Update(ctx, name, &scaledInfo{s, info}, rest.ValidateAllObjectFunc,
		func(ctx context.Context, obj, old runtime.Object) error {
			if update == nil {
				return nil
			}
			a, err := s.read(obj)
			if err != nil {
				return err
			}
			b, err := s.read(old)
			if err != nil {
				return err
			}
			return update(ctx, a, b)
		}, false, o)
	if err != nil {
		return nil, false, err
	}
	sc, err := s.read(obj)
	return sc, false, err
}

func (s *scale) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(autoscalingv1.Resource("scales")).ConvertToTable(ctx, o, options)
}

// handler converts managed fields between the workload's replicas and the scale's.
func (s *scale) handler(entries []metav1.ManagedFieldsEntry) *managedfields.ScaleHandler {
	gv := s.kind.GroupVersion
	return managedfields.NewScaleHandler(entries, gv, managedfields.ResourcePathMappings{
		gv.String(): fieldpath.MakePathOrDie("spec", "replicas")})
}

// read makes the Scale of a workload.
func (s *scale) read(obj runtime.Object) (*autoscalingv1.Scale, error) {
	m := accessor(obj)
	entries, err := s.handler(m.GetManagedFields()).ToSubresource()
	if err != nil {
		return nil, fmt.Errorf("reading the managed fields of %s: %w", m.GetName(), err)
	}
	spec, status, selector := s.kind.Scale.Get(obj)
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(), ManagedFields: entries},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}, nil
}

// scaledInfo is an update of a Scale seen as an update of the workload.
type scaledInfo struct {
	s    *scale
	info rest.UpdatedObjectInfo
}

func (i *scaledInfo) Preconditions() *metav1.Preconditions { return i.info.Preconditions() }

func (i *scaledInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject()
	before, err := i.s.read(obj)
	if err != nil {
		return nil, err
	}
	updated, err := i.info.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	after, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", updated))
	}
	if err := checkScale(after, accessor(obj).GetName()); err != nil {
		return nil, err
	}
	m := accessor(obj)
	entries, err := i.s.handler(m.GetManagedFields()).ToParent(after.ManagedFields)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(entries)
	if after.ResourceVersion != "" {
		m.SetResourceVersion(after.ResourceVersion) // the client's precondition
	}
	if after.UID != "" {
		m.SetUID(after.UID)
	}
	i.s.kind.Scale.Set(obj, after.Spec.Replicas)
	return obj, nil
}

func checkScale(sc *autoscalingv1.Scale, name string) error {
	var errs field.ErrorList
	if sc.Name != name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), sc.Name, "must be the name of the workload, "+name))
	}
	if sc.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), sc.Spec.Replicas, "must be greater than or equal to 0"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), sc.Name, errs)
}
