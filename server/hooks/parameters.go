package hooks

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// parameters are the objects of one kind in one namespace, "" if the kind has none, as policies ask for them.
type parameters struct {
	state     State
	gr        schema.GroupResource
	namespace string
}

var _ cache.GenericLister = parameters{}

// Informer implements informers.GenericInformer: all that is asked of it is whether it is ready.
func (p parameters) Informer() cache.SharedIndexInformer { return &table{} }

// Lister implements informers.GenericInformer.
func (p parameters) Lister() cache.GenericLister { return p }

// ByNamespace implements cache.GenericLister.
func (p parameters) ByNamespace(namespace string) cache.GenericNamespaceLister {
	p.namespace = namespace
	return p
}

// Get implements cache.GenericLister.
func (p parameters) Get(name string) (runtime.Object, error) {
	if o := p.state.Object(p.gr, p.namespace, name); o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(p.gr, name)
}

// List implements cache.GenericLister.
func (p parameters) List(selector labels.Selector) (out []runtime.Object, err error) {
	for _, o := range p.state.Objects(p.gr, p.namespace) {
		if m, err := meta.Accessor(o); err == nil && selector.Matches(labels.Set(m.GetLabels())) {
			out = append(out, o)
		}
	}
	return out, nil
}
