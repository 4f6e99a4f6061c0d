package nodeauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/rbac"
)

// State is what decides: the pods of each node, and the objects that they lead to. Nothing that it gives may be changed.
type State interface {
	PodsOfNode(node string) []*api.PodRecord
	Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool)
	// Barrier returns when the local state has every write that was acknowledged before the call.
	Barrier(ctx context.Context) error
}

// userPrefix is what the name of a node's user begins with; the rest is the node's name.
const userPrefix = "system:node:"

// NodeOf is the node that a user is. A user of the group system:nodes whose name is no node's is one without a name.
func NodeOf(u user.Info) (name string, is bool) {
	if u == nil || !slices.Contains(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	name, _ = strings.CutPrefix(u.GetName(), userPrefix)
	if name == u.GetName() {
		return "", false
	}
	return name, true
}

// Authorizer allows nodes what their pods need, and has no opinion on other users.
type Authorizer struct{ state State }

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// New makes an Authorizer of a state.
func New(state State) *Authorizer { return &Authorizer{state} }

// Authorize implements authorizer.Authorizer. What it allows it allows at once; before it refuses, it sees to it that its state is not
// behind what the node was told elsewhere.
func (a *Authorizer) Authorize(ctx context.Context, at authorizer.Attributes) (authorizer.Decision, string, error) {
	node, is := NodeOf(at.GetUser())
	switch {
	case !is:
		return authorizer.DecisionNoOpinion, "", nil
	case node == "":
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", at.GetUser().GetName()), nil
	}
	q := question{a.state, node, at}
	refusal := q.decide()
	if refusal == noRelation(node) && a.state.Barrier(ctx) == nil {
		refusal = q.decide()
	}
	if refusal != "" {
		return authorizer.DecisionNoOpinion, strings.TrimSpace(refusal), nil
	}
	return authorizer.DecisionAllow, "", nil
}

// ConditionsAwareAuthorize is Authorize: what a node may do has no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, at authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, at))
}

// EvaluateConditions refuses: no decision of this authorizer had conditions.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (
	authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

var errRulesOfNode = errors.New("node authorizer does not support user rule resolution")

// RulesFor implements authorizer.RuleResolver: what a node may do is not a list.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, is := NodeOf(u); is {
		return nil, nil, true, errRulesOfNode
	}
	return nil, nil, false, nil
}

// question is one request of one node.
type question struct {
	state State
	node  string
	at    authorizer.Attributes
}

// silent refuses without saying why.
const silent = " "

func noRelation(node string) string {
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

// decide says why the node may not; "" allows.
func (q question) decide() string {
	gr := schema.GroupResource{Group: q.at.GetAPIGroup(), Resource: q.at.GetResource()}
	if rule, special := rules[gr]; special && q.at.IsResourceRequest() {
		return rule(q, gr)
	}
	if rbac.NodeRulesAllow(q.at) {
		return ""
	}
	return silent
}

// rules are those about objects of which a node gets some and not all.
var rules = map[schema.GroupResource]func(question, schema.GroupResource) string{
	secrets:             question.read,
	configMaps:          question.read,
	claims:              question.claim,
	volumes:             question.get,
	deviceClaims:        question.get,
	attachments:         question.get,
	accounts:            question.account,
	leases:              question.lease,
	csiNodes:            question.csiNode,
	deviceSlices:        question.slice,
	certificateRequests: question.certificateRequest,
	{Resource: "nodes"}: question.nodeObject,
	pods:                question.pod,
}

var (
	pods                = schema.GroupResource{Resource: "pods"}
	secrets             = schema.GroupResource{Resource: "secrets"}
	configMaps          = schema.GroupResource{Resource: "configmaps"}
	accounts            = schema.GroupResource{Resource: "serviceaccounts"}
	claims              = schema.GroupResource{Resource: "persistentvolumeclaims"}
	volumes             = schema.GroupResource{Resource: "persistentvolumes"}
	leases              = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	csiNodes            = schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}
	attachments         = schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}
	deviceClaims        = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	deviceSlices        = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}
	certificateRequests = schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}
)

func (q question) verb(list ...string) bool { return slices.Contains(list, q.at.GetVerb()) }

// related allows an object that the node's pods lead to.
func (q question) related(gr schema.GroupResource) string {
	switch name := q.at.GetName(); {
	case name == "":
		return "No Object name found"
	case q.leadsTo(gr, q.at.GetNamespace(), name):
		return ""
	}
	return noRelation(q.node)
}

func (q question) get(gr schema.GroupResource) string {
	switch {
	case !q.verb("get"):
		return "can only get individual resources of this type"
	case q.at.GetSubresource() != "":
		return "cannot get subresource"
	}
	return q.related(gr)
}

func (q question) read(gr schema.GroupResource) string {
	switch {
	case !q.verb("get", "list", "watch"):
		return "can only read resources of this type"
	case q.at.GetSubresource() != "":
		return "cannot read subresource"
	case q.at.GetNamespace() == "":
		return "can only read namespaced object of this type"
	}
	return q.related(gr)
}

func (q question) claim(gr schema.GroupResource) string {
	switch {
	case q.at.GetSubresource() != "status":
		return q.get(gr)
	case !q.verb("update", "patch"):
		return "can only get/update/patch this type"
	}
	return q.related(gr)
}

// account allows tokens for the accounts of the node's pods, and reading them, for credentials of registries that depend on them.
func (q question) account(gr schema.GroupResource) string {
	switch {
	case q.verb("get") && q.at.GetSubresource() == "":
		return q.related(gr)
	case !q.verb("create") || q.at.GetName() == "":
		return "can only create tokens for individual service accounts"
	case q.at.GetSubresource() != "token":
		return "can only create token subresource of serviceaccount"
	}
	return q.related(gr)
}

func (q question) lease(schema.GroupResource) string {
	switch {
	case !q.verb("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a node lease"
	case q.at.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case !q.verb("create") && q.at.GetName() != q.node: // admission sees the name of a new one
		return "can only access node lease with the same name as the requesting node"
	}
	return ""
}

func (q question) csiNode(schema.GroupResource) string {
	switch {
	case !q.verb("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a CSINode"
	case q.at.GetSubresource() != "":
		return "cannot authorize CSINode subresources"
	case !q.verb("create") && q.at.GetName() != q.node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

func (q question) slice(gr schema.GroupResource) string {
	switch {
	case q.at.GetSubresource() != "":
		return "cannot authorize ResourceSlice subresources"
	case q.verb("create"):
		return "" // admission sees whose it is
	case q.verb("get", "update", "patch", "delete"):
		return q.related(gr)
	case !q.verb("watch", "list", "deletecollection"):
		return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
	case !q.selects("spec.nodeName") && !q.selects("nodeName"):
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return ""
}

func (q question) certificateRequest(gr schema.GroupResource) string {
	switch {
	case q.at.GetSubresource() != "":
		return "cannot access PodCertificateRequest subresources"
	case q.verb("create"):
		return "" // admission sees whose it is
	case q.verb("get"):
		return q.related(gr)
	case q.verb("list", "watch") && q.selects("spec.nodeName"):
		return ""
	case q.verb("list", "watch"):
		return "can only list/watch podcertificaterequests with spec.nodeName field selector"
	}
	return "can only get, list, watch, or create a PodCertificateRequest"
}

func (q question) nodeObject(schema.GroupResource) string {
	switch sub := q.at.GetSubresource(); {
	case sub == "" && q.verb("create", "update", "patch"), sub == "status" && q.verb("update", "patch"):
		return "" // admission sees whose it is
	case sub != "" || !q.verb("get", "list", "watch"):
		return silent
	case q.at.GetName() == "":
		return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", q.node)
	case q.at.GetName() != q.node:
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", q.node, q.at.GetName())
	}
	return ""
}

func (q question) pod(gr schema.GroupResource) string {
	switch sub := q.at.GetSubresource(); {
	case sub == "" && q.verb("create", "delete"), sub == "status" && q.verb("update", "patch"), sub == "eviction" && q.verb("create"):
		return "" // admission sees whose it is
	case sub != "" || !q.verb("get", "list", "watch"):
		return silent
	case q.verb("get"):
		return q.get(gr)
	case q.selects("spec.nodeName"):
		return ""
	case q.at.GetName() != "":
		return q.related(gr)
	}
	return "can only list/watch pods with spec.nodeName field selector"
}

// selects says whether the request is for the objects of this node only.
func (q question) selects(field string) bool {
	list, _ := q.at.GetFieldSelector()
	for _, r := range list {
		if r.Field == field && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) && r.Value == q.node {
			return true
		}
	}
	return false
}
