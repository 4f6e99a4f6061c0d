package kube_test

import (
	"context"
	"crypto/x509/pkix"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/tokens"
)

const tokenIssuer = "https://kubernetes.default.svc.cluster.local"

func withTokens(t *testing.T) func(*kube.Config) {
	return func(c *kube.Config) {
		key, err := tokens.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		issuer, err := tokens.New(tokenIssuer, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Tokens = func() *tokens.Issuer { return issuer }
	}
}

// bearer is a client with a token and no certificate.
func (h *harness) bearer(token string) kubernetes.Interface {
	c := rest.AnonymousClientConfig(h.config)
	c.BearerToken = token
	return kubernetes.NewForConfigOrDie(c)
}

func (h *harness) account(name string) *corev1.ServiceAccount {
	h.Helper()
	sa, err := h.client.CoreV1().ServiceAccounts("default").Create(h.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		h.Fatal(err)
	}
	return sa
}

func (h *harness) token(account string, spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
	return h.client.CoreV1().ServiceAccounts("default").CreateToken(h.Context(), account, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
}

func whoami(ctx context.Context, c kubernetes.Interface) (authenticationv1.UserInfo, error) {
	r, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

// everybody may do everything: who he is is what is tested.
func everybody(c *kube.Config) {
	c.Authorizer = authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionAllow, "", nil
	})
}

// TestTokenOfAPod: Invariant 63.
func TestTokenOfAPod(t *testing.T) {
	h := start(t, withTokens(t), everybody)
	ctx := context.Background()
	h.account("robot")
	p := pod("p", "")
	p.Spec.ServiceAccountName = "robot"
	made, err := h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := h.token("robot", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: made.UID}})
	if err != nil {
		t.Fatal(err)
	}
	if n := *tr.Spec.ExpirationSeconds; n != 3600 || len(tr.Spec.Audiences) != 1 || tr.Spec.Audiences[0] != tokenIssuer || tr.Status.ExpirationTimestamp.IsZero() {
		t.Errorf("%+v", tr)
	}
	robot := h.bearer(tr.Status.Token)
	u, err := whoami(ctx, robot)
	if err != nil || u.Username != "system:serviceaccount:default:robot" || !strings.Contains(strings.Join(u.Groups, " "), "system:serviceaccounts system:serviceaccounts:default system:authenticated") ||
		u.Extra["authentication.kubernetes.io/pod-name"][0] != "p" || u.Extra["authentication.kubernetes.io/pod-uid"][0] != string(made.UID) {
		t.Fatalf("%+v, %v", u, err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: tr.Status.Token}}
	if r, err := h.client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{}); err != nil || !r.Status.Authenticated ||
		r.Status.User.Username != u.Username || len(r.Status.Audiences) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := h.client.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(ctx, robot); !apierrors.IsUnauthorized(err) {
		t.Errorf("after the pod's deletion: %v", err)
	}
	if r, err := h.client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{}); err != nil || r.Status.Authenticated || !strings.Contains(r.Status.Error, "invalidated") {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTokenEndsWithItsAccount: Invariant 63. A new account with an old one's name is another account.
func TestTokenEndsWithItsAccount(t *testing.T) {
	h := start(t, withTokens(t), everybody)
	ctx := context.Background()
	h.account("robot")
	tr, err := h.token("robot", authenticationv1.TokenRequestSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(ctx, h.bearer(tr.Status.Token)); err != nil {
		t.Fatal(err)
	}
	if err := h.client.CoreV1().ServiceAccounts("default").Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.account("robot")
	if _, err := whoami(ctx, h.bearer(tr.Status.Token)); !apierrors.IsUnauthorized(err) {
		t.Errorf("an account of the same name takes the token over: %v", err)
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	h := start(t, withTokens(t))
	ctx := context.Background()
	h.account("robot")
	other := pod("other", "")
	if _, err := h.client.CoreV1().Pods("default").Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seconds := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		account string
		spec    authenticationv1.TokenRequestSpec
		is      func(error) bool
		says    string
	}{
		"too short":        {"robot", authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(599)}, apierrors.IsInvalid, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"},
		"too long":         {"robot", authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(1<<32 + 1)}, apierrors.IsInvalid, "2^32"},
		"no account":       {"nobody", authenticationv1.TokenRequestSpec{}, apierrors.IsNotFound, `serviceaccounts "nobody" not found`},
		"no pod":           {"robot", bound("Pod", "missing", ""), apierrors.IsNotFound, `pods "missing" not found`},
		"another's pod":    {"robot", bound("Pod", "other", ""), apierrors.IsBadRequest, "different serviceaccount name"},
		"another UID":      {"default", bound("Pod", "other", "u"), apierrors.IsConflict, "does not match the UID in record"},
		"an odd kind":      {"robot", bound("ConfigMap", "c", ""), apierrors.IsBadRequest, "cannot bind token to object of type"},
		"a missing secret": {"robot", bound("Secret", "c", ""), apierrors.IsNotFound, `secrets "c" not found`},
	} {
		if _, err := h.token(c.account, c.spec); !c.is(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenForAnotherAudience(t *testing.T) {
	h := start(t, withTokens(t), everybody)
	ctx := context.Background()
	h.account("robot")
	tr, err := h.token("robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(ctx, h.bearer(tr.Status.Token)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for a vault opens the API: %v", err)
	}
	for audience, want := range map[string]bool{"vault": true, "bank": false} {
		r, err := h.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: tr.Status.Token, Audiences: []string{audience}}}, metav1.CreateOptions{})
		if err != nil || r.Status.Authenticated != want {
			t.Errorf("%s: %+v, %v", audience, r, err)
		}
	}
}

func TestTokenDiscovery(t *testing.T) {
	h := start(t, withTokens(t))
	if resp, b := h.get("/.well-known/openid-configuration", nil); resp.StatusCode != 200 || !strings.Contains(string(b), tokenIssuer+"/openid/v1/jwks") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if resp, b := h.get("/openid/v1/jwks", nil); resp.StatusCode != 200 || !strings.Contains(string(b), `"kty":"EC"`) || resp.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
}

func TestWire6Reviews(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	a := h.client.AuthorizationV1()
	pods := &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "list", Resource: "pods"}
	ask := func(spec authorizationv1.SubjectAccessReviewSpec) (*authorizationv1.SubjectAccessReview, error) {
		return a.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	}
	if r, err := ask(authorizationv1.SubjectAccessReviewSpec{User: "eve", ResourceAttributes: pods}); err != nil || r.Status.Allowed {
		t.Errorf("eve: %+v, %v", r, err)
	}
	if r, err := ask(authorizationv1.SubjectAccessReviewSpec{User: "adam", Groups: []string{"system:masters"}, ResourceAttributes: pods}); err != nil || !r.Status.Allowed {
		t.Errorf("adam: %+v, %v", r, err)
	}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"spec.user: Invalid value":                  {ResourceAttributes: pods},
		"spec.resourceAttributes: Invalid value":    {User: "eve"},
		"spec.nonResourceAttributes: Invalid value": {User: "eve", ResourceAttributes: pods, NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/", Verb: "get"}},
	} {
		if _, err := ask(spec); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	local := &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "eve", ResourceAttributes: pods}}
	if r, err := a.LocalSubjectAccessReviews("default").Create(ctx, local, metav1.CreateOptions{}); err != nil || r.Status.Allowed {
		t.Errorf("local: %+v, %v", r, err)
	}
	eve := kubernetes.NewForConfigOrDie(h.user(pkix.Name{CommonName: "eve"}))
	self := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods}}
	if r, err := a.SelfSubjectAccessReviews().Create(ctx, self, metav1.CreateOptions{}); err != nil || !r.Status.Allowed {
		t.Errorf("the administrator of himself: %+v, %v", r, err)
	}
	if _, err := eve.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, self, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without rules nobody may even ask: %v", err)
	}
	if u, err := whoami(ctx, h.client); err != nil || u.Username != "admin" || u.Groups[0] != "system:masters" {
		t.Errorf("%+v, %v", u, err)
	}
}

func bound(kind, name, uid string) authenticationv1.TokenRequestSpec {
	return authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID(uid)}}
}

// What has no table cannot be shown as one.
func TestWire2NoTableOfAReview(t *testing.T) {
	h := start(t)
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}}}
	err := h.client.AuthorizationV1().RESTClient().Post().Resource("selfsubjectaccessreviews").
		SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").Body(review).Do(t.Context()).Error()
	if !apierrors.IsNotAcceptable(err) {
		t.Errorf("%v", err)
	}
}
