package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/nodeauth"
	"github.com/peapod-sh/peapod/server/tokens"
)

var accountsResource = schema.GroupResource{Resource: "serviceaccounts"}

// foundTokens puts a signing key for service account tokens into the log, unless there is one.
func (s *Server) foundTokens(ctx context.Context) error {
	if _, there := s.state.Meta(metaTokenKeys); there {
		return nil
	}
	key, err := tokens.NewKey()
	if err != nil {
		return err
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaTokenKeys, Value: mustJSON([][]byte{key}), IfAbsent: true})
}

// issuerCache keeps the issuer that was made of the cluster's keys.
type issuerCache struct {
	mu     sync.Mutex
	keys   []byte // as in the state
	issuer *tokens.Issuer
}

// tokens is the issuer with the keys that the state has now.
func (s *Server) tokens() (*tokens.Issuer, error) {
	b, ok := s.state.Meta(metaTokenKeys)
	if !ok {
		return nil, errNotReady
	}
	c := &s.issuer
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.issuer != nil && bytes.Equal(c.keys, b) {
		return c.issuer, nil
	}
	network, err := s.meta.network()
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, fmt.Errorf("reading the keys for service account tokens: %w", err)
	}
	issuer, err := tokens.New("https://kubernetes.default.svc."+network.Domain, keys...)
	if err != nil {
		return nil, err
	}
	c.keys, c.issuer = b, issuer
	return issuer, nil
}

// currentTokens answers the issuer with the keys of the moment. It never fails, having one to begin with.
func (s *Server) currentTokens(first *tokens.Issuer) func() *tokens.Issuer {
	return func() *tokens.Issuer {
		now, err := s.tokens()
		if err != nil {
			s.log.Warn("cannot use the cluster's new keys for service account tokens", "error", err)
			return first
		}
		return now
	}
}

// tokenForNode issues a token that a pod of the node asks for in its spec.
func (s *Server) tokenForNode(ctx context.Context, from rpc.Caller, q *wire.TokenRequest) (*wire.TokenReply, error) {
	if err := s.store.Barrier(ctx); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	pod, ok := s.state.Pod(q.Namespace, q.Pod)
	if !ok || pod.Node != from.Name || string(pod.UID) != q.UID {
		return nil, rpc.Errorf(rpc.CodeDenied, "node %s has no pod %s/%s with UID %s", from.Name, q.Namespace, q.Pod, q.UID)
	}
	spec := pod.Spec()
	if !projectsToken(spec, q.Audience, q.Seconds) {
		return nil, rpc.Errorf(rpc.CodeDenied, "pod %s/%s asks for no token for the audience %q and %d seconds", q.Namespace, q.Pod, q.Audience, q.Seconds)
	}
	account, ok := s.state.Get(accountsResource, q.Namespace, spec.ServiceAccountName)
	if !ok {
		return nil, rpc.Errorf(rpc.CodeInvalid, "the service account %s/%s is not there", q.Namespace, spec.ServiceAccountName)
	}
	issuer, err := s.tokens()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	accounts := kube.Accounts{Store: s.store, Issuer: s.currentTokens(issuer), Now: s.now}
	want := authenticationv1.TokenRequestSpec{ExpirationSeconds: &q.Seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: q.Pod, UID: types.UID(q.UID)}}
	if q.Audience != "" {
		want.Audiences = []string{q.Audience}
	}
	accounts.CompleteSpec(&want)
	status, err := accounts.Issue(ctx, account.(*corev1.ServiceAccount), want)
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	return &wire.TokenReply{Token: status.Token}, nil
}

// projectsToken says whether the pod has a volume with such a token: for whom and how long is the spec's word, not the node's.
func projectsToken(spec *corev1.PodSpec, audience string, seconds int64) bool {
	for i := range spec.Volumes {
		if slices.ContainsFunc(nodeauth.Projections(&spec.Volumes[i]), func(p corev1.VolumeProjection) bool {
			t := p.ServiceAccountToken
			return t != nil && t.Audience == audience && t.ExpirationSeconds != nil && *t.ExpirationSeconds == seconds
		}) {
			return true
		}
	}
	return false
}
