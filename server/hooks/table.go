package hooks

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	admissioninformers "k8s.io/client-go/informers/admissionregistration"
	admissioninformersv1 "k8s.io/client-go/informers/admissionregistration/v1"
	coreinformers "k8s.io/client-go/informers/core"
	coreinformersv1 "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// The library learns of webhooks from informers. The types below are as much of informers as it asks for, over the local state: nothing
// is kept twice, nothing watches, and what is configured counts at once.

// version is what tells one state of an object from another.
type version struct {
	uid types.UID
	rev string
}

// versionsOf are the versions of what a table holds, in its order.
func versionsOf(list []runtime.Object) []version {
	out := make([]version, 0, len(list))
	for _, o := range list {
		if m, err := meta.Accessor(o); err == nil {
			out = append(out, version{m.GetUID(), m.GetResourceVersion()})
		}
	}
	return out
}

// table is a resource of configurations, and who wants to hear that it has changed.
type table struct {
	state   State
	gr      schema.GroupResource
	leave   func(runtime.Object) runtime.Object // what is read in an object's place; nil reads it as it is
	changes func() uint64
	known   atomic.Pointer[configured]

	cache.SharedIndexInformer // nil: nothing else is asked
	indexer                   cache.Indexer
	handler                   cache.ResourceEventHandler

	mu       sync.Mutex
	versions []version
}

func newTable(s State, gr schema.GroupResource, leave func(runtime.Object) runtime.Object) *table {
	return &table{state: s, gr: gr, leave: leave, changes: s.Changes(gr), indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)}
}

// configured is what a table holds.
type configured struct {
	changes  uint64 // that it is of, or of before
	webhooks bool   // whether there are any
	services []hook
}

// configured is what the table holds now, and has seen to it that the library knows it. Every write asks, so while nothing has changed
// nothing is read.
func (t *table) configured() *configured {
	changes := t.changes() // before the objects are read, so that what changes meanwhile is looked at again
	if known := t.known.Load(); known != nil && known.changes == changes {
		return known
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.state.Objects(t.gr, "")
	if now := versionsOf(list); !slices.Equal(now, t.versions) {
		t.replace(list)
		t.versions = now
	}
	known := &configured{changes: changes, webhooks: len(list) > 0, services: servicesOf(list)}
	t.known.Store(known)
	return known
}

func (t *table) replace(list []runtime.Object) {
	old := t.indexer.List()
	fresh := make([]any, len(list))
	for i, o := range list {
		fresh[i] = o
		if t.leave != nil {
			fresh[i] = t.leave(o)
		}
	}
	_ = t.indexer.Replace(fresh, "") // the key function knows every object
	for _, o := range old {
		t.handler.OnDelete(o) // forgets what was made of it
	}
	for _, o := range fresh {
		t.handler.OnAdd(o, false)
	}
}

// AddEventHandler implements cache.SharedInformer.
func (t *table) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	t.handler = h
	return registration{}, nil
}

// HasSynced implements cache.SharedInformer.
func (t *table) HasSynced() bool { return true }

type registration struct {
	cache.ResourceEventHandlerRegistration
}

func (registration) HasSynced() bool { return true }

// factory is the informers of namespaces and of one table.
type factory struct {
	informers.SharedInformerFactory
	table *table
}

func (f factory) Core() coreinformers.Interface { return coreGroup{table: f.table} }
func (f factory) Admissionregistration() admissioninformers.Interface {
	return admissionGroup{table: f.table}
}

type coreGroup struct {
	coreinformers.Interface
	table *table
}

func (g coreGroup) V1() coreinformersv1.Interface { return coreVersion{table: g.table} }

type coreVersion struct {
	coreinformersv1.Interface
	table *table
}

func (v coreVersion) Namespaces() coreinformersv1.TypedNamespaceInformer {
	return namespaces{state: v.table.state, table: v.table}
}

type admissionGroup struct {
	admissioninformers.Interface
	table *table
}

func (g admissionGroup) V1() admissioninformersv1.Interface { return admissionVersion{table: g.table} }

type admissionVersion struct {
	admissioninformersv1.Interface
	table *table
}

func (v admissionVersion) MutatingWebhookConfigurations() admissioninformersv1.TypedMutatingWebhookConfigurationInformer {
	return mutatingInformer{table: v.table}
}

func (v admissionVersion) ValidatingWebhookConfigurations() admissioninformersv1.TypedValidatingWebhookConfigurationInformer {
	return validatingInformer{table: v.table}
}

type mutatingInformer struct {
	admissioninformersv1.TypedMutatingWebhookConfigurationInformer
	table *table
}

func (i mutatingInformer) Informer() cache.SharedIndexInformer { return i.table }
func (i mutatingInformer) Lister() admissionlisters.MutatingWebhookConfigurationLister {
	return admissionlisters.NewMutatingWebhookConfigurationLister(i.table.indexer)
}

type validatingInformer struct {
	admissioninformersv1.TypedValidatingWebhookConfigurationInformer
	table *table
}

func (i validatingInformer) Informer() cache.SharedIndexInformer { return i.table }
func (i validatingInformer) Lister() admissionlisters.ValidatingWebhookConfigurationLister {
	return admissionlisters.NewValidatingWebhookConfigurationLister(i.table.indexer)
}

// namespaces gives namespaces as the local state has them, as an informer and as a client.
type namespaces struct {
	coreinformersv1.TypedNamespaceInformer
	corelisters.NamespaceListerExpansion
	state State
	table *table
}

func (n namespaces) Informer() cache.SharedIndexInformer               { return n.table }
func (n namespaces) Lister() corelisters.NamespaceLister               { return n }
func (n namespaces) List(labels.Selector) ([]*corev1.Namespace, error) { return nil, nil }

func (n namespaces) Get(name string) (*corev1.Namespace, error) {
	gr := schema.GroupResource{Resource: "namespaces"}
	if o, ok := n.state.Object(gr, "", name).(*corev1.Namespace); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(gr, name)
}

// client is asked for a namespace that the lister does not have; it has no more.
type client struct {
	kubernetes.Interface
	namespaces namespaces
}

func (c client) CoreV1() corev1client.CoreV1Interface { return coreClient{namespaces: c.namespaces} }

type coreClient struct {
	corev1client.CoreV1Interface
	namespaces namespaces
}

func (c coreClient) Namespaces() corev1client.NamespaceInterface {
	return namespaceClient{namespaces: c.namespaces}
}

type namespaceClient struct {
	corev1client.NamespaceInterface
	namespaces namespaces
}

func (c namespaceClient) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	return c.namespaces.Get(name)
}

// without is a function that leaves some webhooks of a configuration out, by configuration and name.
func without(out []hook) func(runtime.Object) runtime.Object {
	if len(out) == 0 {
		return nil
	}
	leaves := func(configuration, name string) bool {
		return slices.ContainsFunc(out, func(h hook) bool { return h.configuration == configuration && h.name == name })
	}
	return func(o runtime.Object) runtime.Object {
		switch c := o.(type) {
		case *admissionv1.MutatingWebhookConfiguration:
			c = c.DeepCopy()
			c.Webhooks = slices.DeleteFunc(c.Webhooks, func(w admissionv1.MutatingWebhook) bool { return leaves(c.Name, w.Name) })
			return c
		case *admissionv1.ValidatingWebhookConfiguration:
			c = c.DeepCopy()
			c.Webhooks = slices.DeleteFunc(c.Webhooks, func(w admissionv1.ValidatingWebhook) bool { return leaves(c.Name, w.Name) })
			return c
		}
		return o
	}
}
