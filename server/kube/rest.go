package kube

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// resource is the main storage of a kind: the generic store with its names for discovery.
type resource struct {
	*registry.Store
	kind *api.Kind
}

func (r resource) ShortNames() []string { return r.kind.ShortNames }
func (r resource) Categories() []string { return r.kind.Categories }

// newStore makes the generic store of a kind.
func newStore(k *api.Kind, options generic.RESTOptionsGetter) (*registry.Store, error) {
	gr := k.GroupResource()
	st := newStrategy(k)
	s := &registry.Store{
		NewFunc:                   k.New,
		NewListFunc:               k.NewList,
		DefaultQualifiedResource:  gr,
		SingularQualifiedResource: schema.GroupResource{Group: gr.Group, Resource: k.Singular},
		CreateStrategy:            st,
		UpdateStrategy:            st,
		DeleteStrategy:            st,
		ResetFieldsStrategy:       st,
		TableConvertor:            newTables(k),
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: attributes(k)}
		},
		StorageVersioner: k.GroupVersion,
	}
	if k.TTLSeconds > 0 {
		s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return k.TTLSeconds, nil }
	}
	return s, s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options, AttrFunc: attributes(k)})
}

// attributes gives what selectors can select by.
func attributes(k *api.Kind) storage.AttrFunc {
	return func(o runtime.Object) (labels.Set, fields.Set, error) {
		m, err := meta.Accessor(o)
		if err != nil {
			return nil, nil, err
		}
		f := fields.Set{}
		if k.Fields != nil {
			f = k.Fields(o)
		}
		f["metadata.name"] = m.GetName()
		if !k.ClusterScoped {
			f["metadata.namespace"] = m.GetNamespace()
		}
		return m.GetLabels(), f, nil
	}
}

// withStrategy is the store of a subresource that updates the object by other rules.
func withStrategy(s *registry.Store, update rest.RESTUpdateStrategy, reset rest.ResetFieldsStrategy) *registry.Store {
	c := *s
	c.UpdateStrategy, c.ResetFieldsStrategy = update, reset
	c.BeginUpdate = nil
	return &c
}

// part is a subresource that reads and writes the whole object under other rules: status,
// finalize, ephemeralcontainers, resize.
type part struct{ store *registry.Store }

var (
	_ rest.Patcher             = part{}
	_ rest.ResetFieldsStrategy = part{}
	_ rest.TableConvertor      = part{}
)

func newStatus(s *registry.Store, k *api.Kind) part {
	st := statusStrategy{newStrategy(k)}
	return part{withStrategy(s, st, st)}
}

func (p part) New() runtime.Object { return p.store.New() }
func (p part) Destroy()            {}

func (p part) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return p.store.Get(ctx, name, o)
}

// Update never creates, whatever the kind's main resource does.
func (p part) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return p.store.Update(ctx, name, info, create, update, false, o)
}

func (p part) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return p.store.GetResetFields()
}

func (p part) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return p.store.ConvertToTable(ctx, o, options)
}
