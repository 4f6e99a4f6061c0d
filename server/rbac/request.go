package rbac

import "k8s.io/apiserver/pkg/authorization/authorizer"

// all is the wildcard of verbs, API groups, resources and paths.
const all = "*"

// resourceBytes is room enough for any resource with its subresource, written twice (see newRequest); more room is made if not.
const resourceBytes = 128

// request is what rules are held against.
type request struct {
	verb string
	// path is that of a request that is not for a resource.
	path string

	ofResource  bool
	group, name string
	// resource is written as rules write it, "pods" or "pods/log": Kubernetes compares this text, whatever is in its parts.
	resource []byte
	// anyResource is the wildcard that also means the resource, "*/log"; nil for what is no subresource.
	anyResource []byte
}

// newRequest writes the resource into room, which the caller has on his stack, so that asking takes no memory.
func newRequest(at authorizer.Attributes, room []byte) request {
	r := request{verb: at.GetVerb(), ofResource: at.IsResourceRequest()}
	if !r.ofResource {
		r.path = at.GetPath()
		return r
	}
	r.group, r.name = at.GetAPIGroup(), at.GetName()
	r.resource = append(room, at.GetResource()...)
	if sub := at.GetSubresource(); sub != "" {
		r.resource = append(append(r.resource, '/'), sub...)
		r.anyResource = append(append(r.resource[len(r.resource):], all...), '/')
		r.anyResource = append(r.anyResource, sub...)
	}
	return r
}
