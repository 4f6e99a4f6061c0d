package hooks

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// customReadTimeout bounds the reading of parameters that may have to be converted by a webhook.
const customReadTimeout = 10 * time.Second

// CustomObjects reads custom resources in the version that a policy names.
type CustomObjects interface {
	// Resource finds what serves a kind now; false if nothing does.
	Resource(kind schema.GroupVersionKind) (gvr schema.GroupVersionResource, namespaced, ok bool)
	// Get finds an object. The error is that of the API.
	Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (runtime.Object, error)
	// List finds those that a selector selects.
	List(ctx context.Context, gvr schema.GroupVersionResource, namespace string, selector labels.Selector) ([]runtime.Object, error)
}

// customParameters are parameters of a kind that is not in the table. Its definition may come and go while the policy stays, so it is
// looked for each time.
type customParameters struct {
	objects   CustomObjects
	kind      schema.GroupVersionKind
	namespace string
}

var (
	_ cache.GenericLister = customParameters{}
	_ meta.RESTScope      = customParameters{}
)

// Name implements meta.RESTScope.
func (p customParameters) Name() meta.RESTScopeName {
	if _, namespaced, ok := p.objects.Resource(p.kind); ok && !namespaced {
		return meta.RESTScopeNameRoot
	}
	return meta.RESTScopeNameNamespace
}

// Informer implements informers.GenericInformer: all that is asked of it is whether it is ready.
func (p customParameters) Informer() cache.SharedIndexInformer { return &table{} }

// Lister implements informers.GenericInformer.
func (p customParameters) Lister() cache.GenericLister { return p }

// ByNamespace implements cache.GenericLister.
func (p customParameters) ByNamespace(namespace string) cache.GenericNamespaceLister {
	p.namespace = namespace
	return p
}

// Get implements cache.GenericLister.
func (p customParameters) Get(name string) (runtime.Object, error) {
	gvr, err := p.resource()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), customReadTimeout)
	defer cancel()
	return p.objects.Get(ctx, gvr, p.namespace, name)
}

// List implements cache.GenericLister.
func (p customParameters) List(selector labels.Selector) ([]runtime.Object, error) {
	gvr, err := p.resource()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), customReadTimeout)
	defer cancel()
	return p.objects.List(ctx, gvr, p.namespace, selector)
}

func (p customParameters) resource() (schema.GroupVersionResource, error) {
	gvr, _, ok := p.objects.Resource(p.kind)
	if !ok {
		return gvr, fmt.Errorf("failed to find resource referenced by paramKind: '%s, Kind=%s'", p.kind.GroupVersion(), p.kind.Kind)
	}
	return gvr, nil
}
