package kube

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// noCollection is a resource without the deletion of collections: nobody empties a cluster by mistake.
type noCollection interface {
	rest.Storage
	rest.Scoper
	rest.SingularNameProvider
	rest.ShortNamesProvider
	rest.CategoriesProvider
	rest.Getter
	rest.Lister
	rest.CreaterUpdater
	rest.Watcher
	rest.ResetFieldsStrategy
	rest.StorageVersionProvider
}

// namespaces live until what is in them is gone: deletion only marks them as terminating, and
// when the last finalizer is removed they go.
type namespaces struct {
	noCollection
	store *registry.Store
	// extended says whether other API servers may have objects in namespaces.
	extended func() bool
}

var _ rest.GracefulDeleter = namespaces{}

func newNamespaces(r resource, extended func() bool) namespaces {
	r.Store.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
		n, ok := obj.(*corev1.Namespace)
		return ok && len(n.Spec.Finalizers) == 0 && registry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
	}
	return namespaces{r, r.Store, extended}
}

// Delete marks the namespace while finalizers remain, and removes it when there are none.
func (n namespaces) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := n.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if err := checkPreconditions(ns, o); err != nil {
		return nil, false, err
	}
	if ns.DeletionTimestamp != nil && len(ns.Spec.Finalizers) == 0 {
		return n.store.Delete(ctx, name, validate, o)
	}
	out, err := n.mark(ctx, name, validate, o)
	if err != nil {
		return nil, false, err
	}
	if len(out.Spec.Finalizers) == 0 {
		return n.store.Delete(ctx, name, validate, o)
	}
	return out, false, nil
}

// mark makes the namespace terminating. It goes past the rules for updates, which let nobody set
// a deletion timestamp.
func (n namespaces) mark(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (*corev1.Namespace, error) {
	key, err := n.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	pre := storage.Preconditions{}
	if o.Preconditions != nil {
		pre.UID, pre.ResourceVersion = o.Preconditions.UID, o.Preconditions.ResourceVersion
	}
	out := &corev1.Namespace{}
	err = n.store.Storage.GuaranteedUpdate(ctx, key, out, false, &pre, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		ns := obj.(*corev1.Namespace)
		if err := validate(ctx, ns); err != nil {
			return nil, err
		}
		if ns.DeletionTimestamp == nil {
			now := metav1.NewTime(time.Now().Truncate(time.Second))
			ns.DeletionTimestamp = &now
			if n.extended() && len(ns.Spec.Finalizers) > 0 && !slices.Contains(ns.Spec.Finalizers, api.AggregatedFinalizer) {
				ns.Spec.Finalizers = append(ns.Spec.Finalizers, api.AggregatedFinalizer)
			}
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		return ns, nil
	}), dryrun.IsDryRun(o.DryRun), nil)
	return out, storeerr.InterpretUpdateError(err, namespacesResource, name)
}

func checkPreconditions(ns *corev1.Namespace, o *metav1.DeleteOptions) error {
	if o == nil || o.Preconditions == nil {
		return nil
	}
	p := o.Preconditions
	if p.UID != nil && *p.UID != ns.UID || p.ResourceVersion != nil && *p.ResourceVersion != ns.ResourceVersion {
		return apierrors.NewConflict(namespacesResource, ns.Name, errors.New("the UID or resourceVersion in the precondition is another one"))
	}
	return nil
}

// ConvertToTable is not part of noCollection because two of its interfaces have it.
func (n namespaces) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return n.store.ConvertToTable(ctx, o, options)
}

// finalizeStrategy is that of the finalize subresource, which alone writes spec.finalizers.
type finalizeStrategy struct{ strategy }

func (s finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	copyField(obj, old, statusField)
}

func (s finalizeStrategy) ValidateUpdate(ctx context.Context, obj, _ runtime.Object) field.ErrorList {
	return s.strategy.Validate(ctx, obj)
}

func (s finalizeStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resetFields(s.kind, "status")
}

// finalize is the subresource by which the last finalizer leaves.
type finalize struct{ p part }

func newFinalize(s *registry.Store, k *api.Kind) *finalize {
	st := finalizeStrategy{newStrategy(k)}
	return &finalize{part{withStrategy(s, st, st)}}
}

func (f *finalize) New() runtime.Object { return f.p.New() }
func (f *finalize) Destroy()            {}

func (f *finalize) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return f.p.Update(ctx, name, info, create, update, false, o)
}

func (f *finalize) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return f.p.GetResetFields()
}
