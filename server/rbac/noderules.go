package rbac

import (
	"sync"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var compiledNodeRules = sync.OnceValue(func() *compiled { return compile(nodeRules()) })

// NodeRulesAllow says whether the rules of the role system:node allow a request. The role is bound to nobody: which objects a node gets is
// decided object by object.
func NodeRulesAllow(at authorizer.Attributes) bool {
	var room [resourceBytes]byte
	r := newRequest(at, room[:0])
	return compiledNodeRules().allow(&r)
}
