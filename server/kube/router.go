package kube

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/emicklei/go-restful/v3"
)

// router finds a request's route in a tree, where go-restful tries every route of a group in turn. What the tree does not hold
// (patches, whose content type decides, and wildcards) and what it does not find is left to go-restful.
type router struct {
	restful.CurlyRouter
	tree atomic.Pointer[routeTree]
}

// routeTree is made of services that stay as they are.
type routeTree struct {
	services []*restful.WebService
	root     routeNode
}

// routeNode is a place in a path. Routes are by method.
type routeNode struct {
	literal map[string]*routeNode
	param   *routeNode
	routes  map[string]serviceRoute
}

type serviceRoute struct {
	service *restful.WebService
	route   *restful.Route
}

// SelectRoute implements restful.RouteSelector.
func (r *router) SelectRoute(services []*restful.WebService, q *http.Request) (*restful.WebService, *restful.Route, error) {
	t := r.tree.Load()
	if t == nil || !slices.Equal(t.services, services) {
		t = newRouteTree(services)
		r.tree.Store(t)
	}
	if found, ok := t.find(q.Method, q.URL.Path); ok {
		return found.service, found.route, nil
	}
	return r.CurlyRouter.SelectRoute(services, q)
}

func newRouteTree(services []*restful.WebService) *routeTree {
	t := &routeTree{services: slices.Clone(services)}
	for _, s := range services {
		routes := s.Routes()
		for i := range routes {
			t.add(serviceRoute{s, &routes[i]})
		}
	}
	return t
}

func (t *routeTree) add(r serviceRoute) {
	if r.route.Method == http.MethodPatch || len(r.route.If) > 0 || !slices.Equal(r.route.Consumes, []string{"*/*"}) {
		return
	}
	n := &t.root
	for token := range strings.SplitSeq(strings.Trim(r.route.Path, "/"), "/") {
		switch {
		case strings.Contains(token, ":"):
			return
		case strings.HasPrefix(token, "{"):
			if n.param == nil {
				n.param = &routeNode{}
			}
			n = n.param
		default:
			next := n.literal[token]
			if next == nil {
				next = &routeNode{}
				if n.literal == nil {
					n.literal = map[string]*routeNode{}
				}
				n.literal[token] = next
			}
			n = next
		}
	}
	if n.routes == nil {
		n.routes = map[string]serviceRoute{}
	}
	n.routes[r.route.Method] = r
}

// find prefers a literal to a parameter and does not come back from a dead end.
func (t *routeTree) find(method, path string) (serviceRoute, bool) {
	n := &t.root
	for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		next := n.literal[token]
		if next == nil {
			next = n.param
		}
		if next == nil || token == "" {
			return serviceRoute{}, false
		}
		n = next
	}
	found, ok := n.routes[method]
	return found, ok
}
