package kube

import (
	"container/list"
	"net/http"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	crdlisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// customHandlers serves custom resources with the library's handler. What that makes ready to serve the resources of a definition
// (validators, compiled rules, types, codecs) takes some 200 KB and 10 ms, and it would keep it as long as the definition stays. This makes
// it forget what nobody uses: what has requests under way stays, watches among them, and so do those that were used last.
type customHandlers struct {
	server.DelegationTarget // serves the rest
	handler                 http.Handler
	lister                  crdlisters.CustomResourceDefinitionLister
	events                  cache.ResourceEventHandler // the handler's own
	idleMax                 int                        // definitions without requests

	mu    sync.Mutex
	ready map[types.UID]*readyKind
	idle  *list.List // of *readyKind, what was used last in front
}

// readyKind is a definition whose resources are ready to be served.
type readyKind struct {
	uid      types.UID
	requests int           // under way
	idle     *list.Element // nil while there are requests
	forget   *time.Timer   // while there are none
}

// newCustomHandlers makes a handler as that of cfg's server, which stands in front of it.
func newCustomHandlers(cfg crdserver.CompletedConfig, of *crdserver.CustomResourceDefinitions) (*customHandlers, error) {
	informer := of.Informers.Apiextensions().V1().CustomResourceDefinitions()
	c := &customHandlers{DelegationTarget: of.GenericAPIServer, lister: informer.Lister(), idleMax: customIdleMax, ready: map[types.UID]*readyKind{}, idle: list.New()}
	own := &eventsTaken{SharedIndexInformer: informer.Informer()}
	generic := cfg.GenericConfig
	var err error
	// Discovery is served by the server behind, which also establishes definitions. Whether there are static definitions decides about managed
	// fields; which there are does not matter, as documents of custom resources have all that they refer to.
	c.handler, err = crdserver.NewCustomResourceDefinitionHandler(nil, nil, informerTaken{informer, own}, of.GenericAPIServer.UnprotectedHandler(),
		cfg.ExtraConfig.CRDRESTOptionsGetter, generic.AdmissionControl, nil, cfg.ExtraConfig.ServiceResolver, cfg.ExtraConfig.AuthResolverWrapper,
		cfg.ExtraConfig.MasterCount, of.GenericAPIServer.Authorizer, generic.RequestTimeout, time.Duration(generic.MinRequestTimeout)*time.Second,
		map[string]*spec.Schema{}, generic.MaxRequestBodyBytes)
	if err != nil {
		return nil, err
	}
	c.events = own.taken
	_, err = own.SharedIndexInformer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: c.changed, UpdateFunc: c.replaced, DeleteFunc: c.removed})
	return c, err
}

// eventsTaken keeps the events of definitions from who asks for them, and that one for who will tell it of them.
type eventsTaken struct {
	cache.SharedIndexInformer
	taken cache.ResourceEventHandler
}

func (e *eventsTaken) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	e.taken = h
	return nil, nil
}

type informerTaken struct {
	crdinformers.CustomResourceDefinitionInformer
	informer cache.SharedIndexInformer
}

func (i informerTaken) Informer() cache.SharedIndexInformer { return i.informer }

// changed tells the handler of a definition as of a new one, at which it forgets what is made for another schema or other names. As of one
// that has changed it would also establish it, which is the other server's.
func (c *customHandlers) changed(o any) { c.events.OnAdd(o, false) }

func (c *customHandlers) replaced(old, now any) {
	if was := old.(*apiextensionsv1.CustomResourceDefinition); was.UID != now.(*apiextensionsv1.CustomResourceDefinition).UID {
		c.removed(was)
	}
	c.changed(now)
}

func (c *customHandlers) removed(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if d, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok {
		c.tellGone(d.UID)
	}
}

// tellGone makes the handler forget what is ready for a definition: to it, another one has its name now. Requests under way keep theirs.
func (c *customHandlers) tellGone(uid types.UID) {
	c.events.OnUpdate(&apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{UID: uid}}, &apiextensionsv1.CustomResourceDefinition{})
}

// UnprotectedHandler serves custom resources itself.
func (c *customHandlers) UnprotectedHandler() http.Handler {
	next := c.DelegationTarget.UnprotectedHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest {
			next.ServeHTTP(w, r)
			return
		}
		d, err := c.lister.Get(info.Resource + "." + info.APIGroup)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		used := c.begin(d.UID)
		defer c.end(used)
		c.handler.ServeHTTP(w, r)
	})
}

func (c *customHandlers) begin(uid types.UID) *readyKind {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.ready[uid]
	if k == nil {
		k = &readyKind{uid: uid}
		c.ready[uid] = k
	}
	if k.idle != nil {
		k.forget.Stop()
		c.idle.Remove(k.idle)
		k.idle = nil
	}
	k.requests++
	return k
}

func (c *customHandlers) end(k *readyKind) {
	c.mu.Lock()
	k.requests--
	if k.requests == 0 {
		k.idle = c.idle.PushFront(k)
		k.forget = time.AfterFunc(customKeep, func() { c.drop(k) })
	}
	var last *readyKind
	if c.idle.Len() > c.idleMax {
		last = c.idle.Back().Value.(*readyKind)
	}
	c.mu.Unlock()
	if last != nil {
		c.drop(last)
	}
}

// drop forgets what is ready for a definition if it is not in use.
func (c *customHandlers) drop(k *readyKind) {
	c.mu.Lock()
	idle := k.idle != nil
	if idle {
		k.forget.Stop()
		c.idle.Remove(k.idle)
		k.idle = nil
		delete(c.ready, k.uid)
	}
	c.mu.Unlock()
	if idle {
		c.tellGone(k.uid)
	}
}
