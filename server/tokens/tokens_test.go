package tokens

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIssuer(t *testing.T, keys ...[]byte) *Issuer {
	t.Helper()
	i, err := New(issuer, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func claims() Claims {
	return Claims{Claims: jwt.Claims{Subject: "system:serviceaccount:a:b", Audience: jwt.Audience{issuer, "vault"},
		IssuedAt: jwt.NewNumericDate(noon), NotBefore: jwt.NewNumericDate(noon), Expiry: jwt.NewNumericDate(noon.Add(time.Hour))},
		Bound: Bound{Namespace: "a", ServiceAccount: Ref{"b", "1"}, Pod: &Ref{"p", "2"}}}
}

func issue(t *testing.T, i *Issuer) string {
	t.Helper()
	token, err := i.Issue(claims())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestIssuedIsVerified(t *testing.T) {
	old, next := newKey(t), newKey(t)
	i := newIssuer(t, old)
	token := issue(t, i)
	for name, v := range map[string]*Issuer{"itself": i, "another server": newIssuer(t, old), "after a new key": newIssuer(t, next, old)} {
		for range 2 { // the second time from memory
			c, err := v.Verify(token, noon.Add(time.Minute))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if c.Bound.ServiceAccount.UID != "1" || c.Bound.Pod.Name != "p" || c.Subject != "system:serviceaccount:a:b" {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	if got := Matching(&Claims{Claims: jwt.Claims{Audience: jwt.Audience{"x", "y"}}}, []string{"y", "z"}); len(got) != 1 || got[0] != "y" {
		t.Errorf("matching audiences: %v", got)
	}
}

func TestNotVerified(t *testing.T) {
	key := newKey(t)
	i := newIssuer(t, key)
	token := issue(t, i)
	stranger, err := New("https://elsewhere", newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	foreign := issue(t, stranger)
	if _, err := i.Verify(token, noon); err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	for name, c := range map[string]struct {
		token   string
		at      time.Time
		foreign bool
	}{
		"expired":           {token, noon.Add(time.Hour + time.Second), false},
		"not yet valid":     {token, noon.Add(-time.Second), false},
		"another key":       {issue(t, newIssuer(t, newKey(t))), noon, false},
		"another issuer":    {foreign, noon, true},
		"not a token":       {"abc", noon, true},
		"empty":             {"", noon, true},
		"changed signature": {head + "." + body + "." + signature[1:] + "A", noon, false},
		"no signature":      {head + "." + body + ".", noon, false},
		"changed body":      {head + "." + body[:len(body)-4] + "AAAA." + signature, noon, true},
	} {
		_, err := i.Verify(c.token, c.at)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if c.foreign && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A token that names no algorithm, or signs with the public key as if it were a secret, is nobody's.
func TestAlgorithmsAreNotTheCallersChoice(t *testing.T) {
	i := newIssuer(t, newKey(t))
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: i.JWKS()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := claims()
	c.Issuer = issuer
	token, err := jwt.Signed(hmac).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(token, noon); !errors.Is(err, ErrForeign) {
		t.Errorf("HS256: %v", err)
	}
	_, rest, _ := strings.Cut(token, ".")
	body, _, _ := strings.Cut(rest, ".")
	if _, err := i.Verify("eyJhbGciOiJub25lIn0."+body+".", noon); !errors.Is(err, ErrForeign) {
		t.Errorf("none: %v", err)
	}
}

// Whoever reads the two documents can verify a token by himself.
func TestDiscoveryLeadsToTheKeys(t *testing.T) {
	i := newIssuer(t, newKey(t), newKey(t))
	var d struct{ Issuer, JWKS_URI string }
	if err := json.Unmarshal(i.Discovery(), &d); err != nil || d.Issuer != issuer || d.JWKS_URI != issuer+JWKSPath {
		t.Errorf("%s: %v", i.Discovery(), err)
	}
	if strings.Contains(string(i.JWKS()), `"d":`) {
		t.Fatal("the private key is shown")
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(i.JWKS(), &keys); err != nil || len(keys.Keys) != 2 {
		t.Fatalf("%s: %v", i.JWKS(), err)
	}
	parsed, err := jwt.ParseSigned(issue(t, i), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	if err := parsed.Claims(keys, &c); err != nil || c.Bound.Namespace != "a" {
		t.Errorf("%+v: %v", c, err)
	}
}
