package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/server/tokens"
)

// good says whether a server's API takes a token for who it says it is.
func good(t *testing.T, s *testServer, token string) bool {
	t.Helper()
	r, err := s.client().AuthenticationV1().TokenReviews().Create(within(t, 20*time.Second),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Authenticated
}

func tokenOf(t *testing.T, s *testServer) (token, key string) {
	t.Helper()
	r, err := s.client().CoreV1().ServiceAccounts("default").CreateToken(within(t, 20*time.Second), "me", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if key, err = tokens.SignedBy(r.Status.Token); err != nil {
		t.Fatal(err)
	}
	return r.Status.Token, key
}

// TestSigningKeysTurn: after a rotation another key signs, the first tokens of which are good on every server at once, and those of the old key stay good until
// it is removed, which a token without an end forbids.
func TestSigningKeysTurn(t *testing.T) {
	all := newCluster3(t)
	if _, err := all[0].client().CoreV1().ServiceAccounts("default").Create(within(t, 20*time.Second),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "me"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secrets := all[0].client().CoreV1().Secrets("default")
	forever := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "forever", Annotations: map[string]string{corev1.ServiceAccountNameKey: "me"}}, Type: corev1.SecretTypeServiceAccountToken}
	if _, err := secrets.Create(within(t, 20*time.Second), forever, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret has its token", func() error {
		got, err := secrets.Get(within(t, 20*time.Second), "forever", metav1.GetOptions{})
		if err != nil || len(got.Data[corev1.ServiceAccountTokenKey]) == 0 {
			return fmt.Errorf("it is %v, %w", got, err)
		}
		return nil
	})
	before, old := tokenOf(t, all[0])
	var now string
	err := onLeader(t, all, func(s *Server) (err error) { now, err = s.rotate(within(t, 20*time.Second), keyForTokens); return err })
	if err != nil || now == old {
		t.Fatalf("rotating from %s: %s, %v", old, now, err)
	}
	var after string
	eventually(t, "the new key signs on another server too", func() error {
		var by string
		if after, by = tokenOf(t, all[1]); by != now {
			return fmt.Errorf("a new token is signed by %s, not %s", by, now)
		}
		return nil
	})
	for _, s := range all {
		if !good(t, s, before) || !good(t, s, after) {
			t.Errorf("%s takes the old token: %v, the new one: %v", s.name, good(t, s, before), good(t, s, after))
		}
	}
	remove := func(id string) error {
		return onLeader(t, all, func(s *Server) error { return s.removeKey(within(t, 20*time.Second), id) })
	}
	if err := remove(now); err == nil || !strings.Contains(err.Error(), "rotate first") {
		t.Errorf("removing the key that signs: %v", err)
	}
	if err := remove(old); err == nil || !strings.Contains(err.Error(), "default/forever") {
		t.Errorf("removing the key of a token without an end: %v", err)
	}
	if err := secrets.Delete(within(t, 20*time.Second), "forever", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old key is removed", func() error { return remove(old) })
	eventually(t, "nobody takes the old token, and all the new one", func() error {
		for _, s := range all {
			if good(t, s, before) || !good(t, s, after) {
				return fmt.Errorf("%s takes the old token: %v, the new one: %v", s.name, good(t, s, before), good(t, s, after))
			}
		}
		return nil
	})
}
