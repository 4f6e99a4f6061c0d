package kube

import (
	"net/http"
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/webhook"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// Router is the router, seen from tests.
type Router struct{ router }

// Holds says whether the tree itself answers.
func (r *Router) Holds(method, path string) bool {
	_, ok := r.tree.Load().find(method, path)
	return ok
}

// Services are all that the server routes to.
func (s *Server) Services() []*restful.WebService {
	return s.generic.Handler.GoRestfulContainer.RegisteredWebServices()
}

// EstimateWork is estimateWork, for a level without a bound of its own.
func (s *Server) EstimateWork(r *http.Request) uint64 { return s.estimateWork(r, "", "").InitialSeats }

// WithCutOff is withCutOff.
var WithCutOff = withCutOff

// LongRunning is longRunning.
var LongRunning = longRunning

// Owners compares how the fields of new objects are found with how the library finds them.
type Owners struct {
	s     *Server
	types managedfields.TypeConverter
}

// NewOwners is for the kinds that the server creates plainly.
func NewOwners(s *Server) Owners {
	all := served{}
	for r, c := range s.creations {
		all[r.String()] = c.store.(rest.Storage)
	}
	return Owners{s, newTypes(all)}
}

// Kinds are those that are created plainly.
func (o Owners) Kinds() (out []*api.Kind) {
	for _, k := range api.Kinds() {
		if o.s.creations[k.GroupVersion.WithResource(k.Resource)] != nil {
			out = append(out, k)
		}
	}
	return out
}

// Plain gives obj to a manager, or says that it does not know how.
func (o Owners) Plain(k *api.Kind, obj runtime.Object, manager string) bool {
	return o.s.creations[k.GroupVersion.WithResource(k.Resource)].owner.own(obj, accessor(obj), manager)
}

// Library gives obj to a manager as apiserver's handler does.
func (o Owners) Library(k *api.Kind, obj runtime.Object, manager string) (runtime.Object, error) {
	c := o.s.creations[k.GroupVersion.WithResource(k.Resource)]
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if r, ok := c.store.(rest.ResetFieldsStrategy); ok {
		reset = fieldpath.NewExcludeFilterSetMap(r.GetResetFields())
	}
	m, err := managedfields.NewDefaultFieldManager(o.types, runtime.UnsafeObjectConvertor(api.Scheme), api.Scheme, api.Scheme, c.kind,
		schema.GroupVersion{Group: c.kind.Group, Version: runtime.APIVersionInternal}, "", reset)
	if err != nil {
		return nil, err
	}
	live, err := api.Scheme.New(c.kind)
	if err != nil {
		return nil, err
	}
	return m.Update(live, obj, manager)
}

// WebhookWay is how a server reaches the webhooks that convert.
func (s *Server) WebhookWay() (webhook.ServiceResolver, webhook.AuthenticationInfoResolverWrapper) {
	way := webhookWay{s}
	return way, way.wrap
}

// KnownCreations is how many versions of custom resources are remembered to have been created.
func (s *Server) KnownCreations() int {
	s.customCreations.mu.Lock()
	defer s.customCreations.mu.Unlock()
	return len(s.customCreations.known)
}

// IdleDefinitions makes n the number of definitions that are kept ready though nobody uses their resources.
func (s *Server) IdleDefinitions(n int) { s.custom.handlers.idleMax = n }

// ReadyDefinitions counts the definitions that are taken to be ready, and those that the library's handler is ready for.
func (s *Server) ReadyDefinitions() (taken, kept int) {
	c := s.custom.handlers
	c.mu.Lock()
	defer c.mu.Unlock()
	storages := reflect.ValueOf(c.handler).Elem().FieldByName("customStorage")
	all := (*atomic.Value)(unsafe.Pointer(storages.UnsafeAddr())).Load()
	return len(c.ready), reflect.ValueOf(all).Len()
}

// SwaggerParts counts what is kept of definitions for the document of version 2, its bytes, and how often such a part was built.
func (s *Server) SwaggerParts() (parts, size, builds int) {
	s.openAPI.building[1].Lock()
	defer s.openAPI.building[1].Unlock()
	c := &s.openAPI.swagger
	for _, p := range c.by {
		size += len(p.json[0].bytes) + len(p.json[1].bytes)
	}
	return len(c.by), size, c.builds
}
