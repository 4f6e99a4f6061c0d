package kube

import "github.com/emicklei/go-restful/v3"

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

// WithCutOff is withCutOff.
var WithCutOff = withCutOff
