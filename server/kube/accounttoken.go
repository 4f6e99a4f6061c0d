package kube

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/server/tokens"
)

// accountToken is the subresource that issues tokens.
type accountToken struct {
	store    *registry.Store
	accounts *Accounts
}

var (
	_ rest.NamedCreater             = (*accountToken)(nil)
	_ rest.GroupVersionKindProvider = (*accountToken)(nil)
)

func (t *accountToken) New() runtime.Object { return &authenticationv1.TokenRequest{} }
func (t *accountToken) Destroy()            {}

// GroupVersionKind names the kind for discovery.
func (t *accountToken) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

func (t *accountToken) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	q := obj.(*authenticationv1.TokenRequest)
	o, err := t.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	account := o.(*corev1.ServiceAccount)
	if q.Name != "" && q.Name != name {
		return nil, apierrors.NewBadRequest("the name in the token request is not that of the service account")
	}
	t.accounts.CompleteSpec(&q.Spec)
	if errs := validateTokenRequest(&q.Spec); len(errs) > 0 {
		return nil, apierrors.NewInvalid(t.GroupVersionKind(schema.GroupVersion{}).GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, q.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	status, err := t.accounts.Issue(ctx, account, q.Spec)
	if err != nil {
		return nil, err
	}
	out := q.DeepCopy()
	out.ObjectMeta = metav1.ObjectMeta{Name: account.Name, Namespace: account.Namespace, CreationTimestamp: metav1.NewTime(t.accounts.Now())}
	out.Status = *status
	return out, nil
}

// installTokenDiscovery serves what others need to check tokens by themselves (OpenID Connect Discovery 1.0).
func (s *Server) installTokenDiscovery() {
	if s.config.Tokens == nil {
		return
	}
	for path, document := range map[string]struct {
		kind string
		text func(*tokens.Issuer) []byte
	}{
		tokens.DiscoveryPath: {"application/json", (*tokens.Issuer).Discovery},
		tokens.JWKSPath:      {"application/jwk-set+json", (*tokens.Issuer).JWKS},
	} {
		s.generic.Handler.NonGoRestfulMux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", document.kind)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_, _ = w.Write(document.text(s.config.Tokens())) // a client that is gone needs no answer
		})
	}
}
