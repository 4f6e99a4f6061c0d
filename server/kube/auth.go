package kube

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"

	"github.com/peapod-sh/peapod/server/nodeauth"
	"github.com/peapod-sh/peapod/server/rbac"
)

// authorizeBy lets a policy decide, and keeps its writers from granting what they do not have.
func (s *Server) authorizeBy(policy *rbac.Authorizer) {
	rest, rules := authorizer.Authorizer(policy), authorizer.RuleResolver(policy)
	if s.config.NodeState != nil {
		nodes := nodeauth.New(s.config.NodeState)
		rest, rules = nodesFirst{nodes, policy}, authorizerunion.NewRuleResolvers(nodes, policy)
	}
	all := authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if u := a.GetUser(); u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
			return authorizer.DecisionAllow, "", nil
		}
		return rest.Authorize(ctx, a)
	})
	if s.config.Authorizer == nil {
		s.config.Authorizer, s.config.Rules = all, rules
	}
	s.guard = rbac.NewGuard(policy, s.config.Authorizer)
}

// nodesFirst asks what a node needs before it asks what roles give to a user.
type nodesFirst struct {
	nodes *nodeauth.Authorizer
	*rbac.Authorizer
}

func (f nodesFirst) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, why, err := f.nodes.Authorize(ctx, a)
	if decision == authorizer.DecisionAllow || err != nil {
		return decision, why, err
	}
	decision, reason, err := f.Authorizer.Authorize(ctx, a)
	if decision != authorizer.DecisionAllow && why != "" {
		reason = strings.TrimSuffix(why+"\n"+reason, "\n")
	}
	return decision, reason, err
}

// newAuthenticator asks client certificates first, then tokens, then the others.
func newAuthenticator(c *Config, accounts *Accounts) authenticator.Request {
	var all []authenticator.Request
	if c.ClientCA != nil {
		all = append(all, newCertCache(x509request.NewDynamic(func() (x509.VerifyOptions, bool) {
			o := x509request.DefaultVerifyOptions()
			o.Roots = c.ClientCA()
			return o, o.Roots != nil
		}, x509request.CommonNameUserConversion), c.ClientCA))
	}
	if accounts != nil {
		all = append(all, bearertoken.New(accounts), websocket.NewProtocolAuthenticator(accounts))
	}
	all = append(all, c.Authenticators...)
	known := group.NewAuthenticatedGroupAdder(union.New(all...))
	if c.Policy == nil {
		return known
	}
	return union.NewFailOnError(known, anonymous.NewAuthenticator(nil))
}

// bootstrapAuthorizer lets system:masters do everything and every user read what describes the
// server. Whatever finer rules there are replace it by Config.Authorizer.
var bootstrapAuthorizer = authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "no user", nil
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	if slices.Contains(u.GetGroups(), user.AllAuthenticated) && a.GetVerb() == "get" && !a.IsResourceRequest() && describesServer(a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "only members of system:masters may do this", nil
})

func describesServer(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "api", "apis", "openapi", "version", "healthz", "livez", "readyz":
		return true
	}
	return false
}
