package server

import (
	"context"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/tokens"
)

var secretsResource = schema.GroupResource{Resource: "secrets"}

// fillTokenSecrets gives secrets of type kubernetes.io/service-account-token their token, for one term. Such a token has no end but
// the secret's and the account's: whoever wants one that ends asks for it (TokenRequest).
func (s *Server) fillTokenSecrets(ctx context.Context) error {
	return s.follow(ctx, secretsResource, func(ctx context.Context, obj runtime.Object) {
		secret := obj.(*corev1.Secret)
		op, err := s.filled(secret)
		if err == nil && op != nil {
			_, err = s.proposer.Propose(ctx, op) // a conflict comes back as the change that caused it
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot make the token of a secret", "namespace", secret.Namespace, "secret", secret.Name, "error", err)
		}
	})
}

// filled is what is to be done about a secret: nil for one that has a token or is of another type.
func (s *Server) filled(secret *corev1.Secret) (ops.Op, error) {
	if secret.Type != corev1.SecretTypeServiceAccountToken || secret.DeletionTimestamp != nil || len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 {
		return nil, nil
	}
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey]
	o, ok := s.state.Get(accountsResource, secret.Namespace, name)
	if !ok || uid != "" && uid != string(o.(*corev1.ServiceAccount).UID) {
		return &ops.Delete{Resource: secretsResource, Namespace: secret.Namespace, Name: secret.Name, Expect: revisionOf(secret)}, nil
	}
	account := o.(*corev1.ServiceAccount)
	issuer, err := s.tokens()
	if err != nil {
		return nil, err
	}
	ca, err := s.meta.ca()
	if err != nil {
		return nil, err
	}
	token, err := issuer.Issue(tokens.Claims{
		Claims: jwt.Claims{Subject: serviceaccount.MakeUsername(account.Namespace, account.Name), Audience: jwt.Audience{issuer.Audience()},
			IssuedAt: jwt.NewNumericDate(s.now()), NotBefore: jwt.NewNumericDate(s.now())},
		Bound: tokens.Bound{Namespace: account.Namespace, ServiceAccount: tokens.Ref{Name: account.Name, UID: string(account.UID)},
			Secret: &tokens.Ref{Name: secret.Name, UID: string(secret.UID)}}})
	if err != nil {
		return nil, err
	}
	next := secret.DeepCopy()
	next.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	next.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	next.Data[corev1.ServiceAccountRootCAKey] = ca.CertPEM()
	next.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	return &ops.Put{Resource: secretsResource, Object: next, Expect: revisionOf(secret)}, nil
}
