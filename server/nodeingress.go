package server

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

var (
	ingressesResource      = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingresses"}
	ingressClassesResource = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}
)

// nodesServe says whether the nodes serve the ingress: its class is the built-in controller's.
func (s *Server) nodesServe(in *networkingv1.Ingress) bool {
	o, ok := s.state.Get(ingressClassesResource, "", api.IngressClassOf(in))
	return ok && o.(*networkingv1.IngressClass).Spec.Controller == api.IngressController
}

// hasCertificate says whether a Secret is named by an ingress that the nodes serve. Of no other Secret do nodes hear in their watches.
func (s *Server) hasCertificate(namespace, secret string) bool {
	found := false
	s.eachIngress(namespace, func(in *networkingv1.Ingress) {
		found = found || api.IngressNamesSecret(in, secret) && s.nodesServe(in)
	})
	return found
}

// eachIngress goes through a namespace's ingresses, or, without one, through all.
func (s *Server) eachIngress(namespace string, fn func(*networkingv1.Ingress)) {
	s.state.Table(ingressesResource).Ascend(namespace, "", func(ns, _ string, o runtime.Object) bool {
		if namespace != "" && ns != namespace {
			return false
		}
		fn(o.(*networkingv1.Ingress))
		return true
	})
}

// shows says whether a change may go out to nodes, by what only the whole state can tell.
func (s *Server) shows(c *api.Change) bool {
	return c.Resource != secretsResource || s.hasCertificate(c.Namespace, c.Name)
}

// pass sends a change on, and with it the certificates that it makes visible.
func (s *Server) pass(w *nodeWatch, c *api.Change, certificates bool) error {
	if !s.shows(c) {
		return nil
	}
	if err := w.change(c); err != nil || !certificates {
		return err
	}
	return s.putCertificates(w, c)
}

// putCertificates sends the Secrets that a new or changed ingress or class makes visible: they have not changed themselves.
func (s *Server) putCertificates(w *nodeWatch, c *api.Change) error {
	switch o := c.New.(type) {
	case *networkingv1.Ingress:
		if old, ok := c.Old.(*networkingv1.Ingress); !ok || old.Generation != o.Generation || api.IngressClassOf(old) != api.IngressClassOf(o) {
			s.putSecretsOf(w, o)
		}
	case *networkingv1.IngressClass:
		s.eachIngress("", func(in *networkingv1.Ingress) {
			if api.IngressClassOf(in) == o.Name {
				s.putSecretsOf(w, in)
			}
		})
	}
	return w.err
}

func (s *Server) putSecretsOf(w *nodeWatch, in *networkingv1.Ingress) {
	if !s.nodesServe(in) {
		return
	}
	for i := range in.Spec.TLS {
		if o, ok := s.state.Get(secretsResource, in.Namespace, in.Spec.TLS[i].SecretName); ok {
			_ = w.put(secretsResource, o) // which remembers its error
		}
	}
}
