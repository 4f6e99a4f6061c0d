package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/peapod-sh/peapod/server/tokens"
)

var (
	accountsResource = schema.GroupResource{Resource: "serviceaccounts"}
	secretsResource  = schema.GroupResource{Resource: "secrets"}
	nodesResource    = schema.GroupResource{Resource: "nodes"}
)

const (
	tokenSecondsDefault = 60 * 60
	tokenSecondsMin     = 10 * 60
	tokenSecondsMax     = 1 << 32
	// goneLeeway is how long a token is still good after the deletion of what it is bound to has begun: a pod that ends still
	// has to say goodbye.
	goneLeeway = 60 * time.Second
)

// Accounts issues the tokens of service accounts and knows those who bring them (KEP-1205).
type Accounts struct {
	Store  Store
	Issuer func() *tokens.Issuer // with the keys that the cluster has now
	Now    func() time.Time
}

// Issue makes a token for an account. Errors are API errors.
func (a *Accounts) Issue(ctx context.Context, account *corev1.ServiceAccount, want authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequestStatus, error) {
	bound := tokens.Bound{Namespace: account.Namespace, ServiceAccount: tokens.Ref{Name: account.Name, UID: string(account.UID)}}
	if err := a.bind(ctx, &bound, want.BoundObjectRef); err != nil {
		return nil, err
	}
	now := a.Now()
	expires := now.Add(time.Duration(*want.ExpirationSeconds) * time.Second)
	token, err := a.Issuer().Issue(tokens.Claims{Bound: bound, Claims: jwt.Claims{
		Subject:  serviceaccount.MakeUsername(account.Namespace, account.Name),
		Audience: want.Audiences, ID: string(uuid.NewUUID()),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires)}})
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return &authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}, nil
}

// CompleteSpec fills in what a request for a token leaves out.
func (a *Accounts) CompleteSpec(s *authenticationv1.TokenRequestSpec) {
	if len(s.Audiences) == 0 {
		s.Audiences = []string{a.Issuer().Audience()}
	}
	if s.ExpirationSeconds == nil {
		seconds := int64(tokenSecondsDefault)
		s.ExpirationSeconds = &seconds
	}
}

func validateTokenRequest(s *authenticationv1.TokenRequestSpec) field.ErrorList {
	at := field.NewPath("spec", "expirationSeconds")
	switch n := *s.ExpirationSeconds; {
	case n < tokenSecondsMin:
		return field.ErrorList{field.Invalid(at, n, "may not specify a duration less than 10 minutes")}
	case n > tokenSecondsMax:
		return field.ErrorList{field.Invalid(at, n, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// bind checks the object that a token shall end with and names it in the token.
func (a *Accounts) bind(ctx context.Context, b *tokens.Bound, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gr, namespace := schema.GroupResource{}, b.Namespace
	switch ref.APIVersion + "/" + ref.Kind {
	case "v1/Pod":
		gr = podsResource
	case "v1/Secret":
		gr = secretsResource
	case "v1/Node":
		gr, namespace = nodesResource, ""
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)))
	}
	o, err := a.find(ctx, gr, namespace, ref.Name)
	if err != nil {
		return err
	}
	uid := accessor(o).GetUID()
	if ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(gr, ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. "+
			"The object might have been deleted and then recreated", ref.UID))
	}
	named := &tokens.Ref{Name: ref.Name, UID: string(uid)}
	switch o := o.(type) {
	case *corev1.Pod:
		if o.Spec.ServiceAccountName != b.ServiceAccount.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", b.ServiceAccount.Name))
		}
		b.Pod = named
		b.Node = a.nodeOf(o)
	case *corev1.Secret:
		b.Secret = named
	case *corev1.Node:
		b.Node = named
	}
	return nil
}

// nodeOf names the pod's node; a node that is gone still has its name.
func (a *Accounts) nodeOf(p *corev1.Pod) *tokens.Ref {
	if p.Spec.NodeName == "" {
		return nil
	}
	node := &tokens.Ref{Name: p.Spec.NodeName}
	if o, ok := a.Store.Get(nodesResource, "", p.Spec.NodeName); ok {
		node.UID = string(accessor(o).GetUID())
	}
	return node
}

// find reads an object of the local state, and waits for what others wrote before it says that there is none.
func (a *Accounts) find(ctx context.Context, gr schema.GroupResource, namespace, name string) (metaObject, error) {
	o, ok := a.Store.Get(gr, namespace, name)
	if !ok {
		if err := a.Store.Barrier(ctx); err != nil {
			return nil, unavailable(gr, "read", err)
		}
		if o, ok = a.Store.Get(gr, namespace, name); !ok {
			return nil, apierrors.NewNotFound(gr, name)
		}
	}
	return o.(metaObject), nil
}

var _ authenticator.Token = (*Accounts)(nil)

// AuthenticateToken implements authenticator.Token. A token is good while the account and the object that it is bound to are there.
func (a *Accounts) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	c, err := a.Issuer().Verify(token, a.Now())
	if errors.Is(err, tokens.ErrForeign) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	accepted, asked := authenticator.AudiencesFrom(ctx)
	if !asked {
		accepted = authenticator.Audiences{a.Issuer().Audience()}
	}
	audiences := tokens.Matching(c, accepted)
	if len(audiences) == 0 {
		return nil, false, fmt.Errorf("the token is for %q, not for %q", c.Audience, accepted)
	}
	if err := a.alive(ctx, &c.Bound); err != nil {
		return nil, false, err
	}
	return &authenticator.Response{User: userOf(c), Audiences: audiences}, true, nil
}

func userOf(c *tokens.Claims) user.Info {
	b := &c.Bound
	i := serviceaccount.ServiceAccountInfo{Namespace: b.Namespace, Name: b.ServiceAccount.Name, UID: b.ServiceAccount.UID}
	if c.ID != "" {
		i.CredentialID = "JTI=" + c.ID
	}
	if b.Pod != nil {
		i.PodName, i.PodUID = b.Pod.Name, b.Pod.UID
	}
	if b.Node != nil {
		i.NodeName, i.NodeUID = b.Node.Name, b.Node.UID
	}
	return i.UserInfo()
}

// alive says whether everything that a token is bound to is still the same.
func (a *Accounts) alive(ctx context.Context, b *tokens.Bound) error {
	if err := a.same(ctx, accountsResource, b.Namespace, &b.ServiceAccount); err != nil {
		return err
	}
	switch {
	case b.Pod != nil: // its node only tells where it runs
		return a.same(ctx, podsResource, b.Namespace, b.Pod)
	case b.Secret != nil:
		return a.same(ctx, secretsResource, b.Namespace, b.Secret)
	case b.Node != nil:
		return a.same(ctx, nodesResource, "", b.Node)
	}
	return nil
}

var errInvalidated = errors.New("service account token has been invalidated")

func (a *Accounts) same(ctx context.Context, gr schema.GroupResource, namespace string, r *tokens.Ref) error {
	o, err := a.find(ctx, gr, namespace, r.Name)
	if apierrors.IsNotFound(err) {
		return errInvalidated
	}
	if err != nil {
		return err
	}
	if string(o.GetUID()) != r.UID {
		return errInvalidated
	}
	if d := o.GetDeletionTimestamp(); d != nil && d.Add(goneLeeway).Before(a.Now()) {
		return errInvalidated
	}
	return nil
}
