package kube

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// resourcePrefix is the root of a resource's keys in registry.Store: "/apps/deployments". The core
// group, whose name is empty, is written "core", which no group can be called as it has no dot.
func resourcePrefix(gr schema.GroupResource) string {
	if gr.Group == "" {
		return "/core/" + gr.Resource
	}
	return "/" + gr.Group + "/" + gr.Resource
}

// splitKey takes the namespace and name out of a key below prefix: "/ns/name", or "/name" of
// cluster-scoped kinds. A list key ends in "/" and has no name; the list key of everything has neither.
func (s *objectStorage) splitKey(key string) (namespace, name string) {
	rest := strings.TrimPrefix(strings.TrimPrefix(key, s.prefix), "/")
	if s.kind.ClusterScoped {
		return "", rest
	}
	namespace, name, _ = strings.Cut(rest, "/")
	return namespace, name
}

// joinKey is the reverse of splitKey for one object.
func (s *objectStorage) joinKey(namespace, name string) string {
	if s.kind.ClusterScoped {
		return s.prefix + "/" + name
	}
	return s.prefix + "/" + namespace + "/" + name
}

// scope is what a list or watch covers: everything, one namespace, or one object.
type scope struct {
	namespace, name string
	cluster         bool // the kind is cluster-scoped
}

func (s *objectStorage) scope(key string, recursive bool) scope {
	ns, name := s.splitKey(key)
	if recursive {
		name = ""
	}
	return scope{namespace: ns, name: name, cluster: s.kind.ClusterScoped}
}

func (c scope) has(namespace, name string) bool {
	return (c.cluster || c.namespace == "" || c.namespace == namespace) && (c.name == "" || c.name == name)
}

// past says whether in ascending order nothing of the scope can follow.
func (c scope) past(namespace, name string) bool {
	if !c.cluster && c.namespace != "" && namespace > c.namespace {
		return true
	}
	return c.name != "" && (c.cluster || namespace == c.namespace) && name > c.name
}
