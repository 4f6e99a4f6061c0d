package tokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/utils/lru"
)

// Ref names the object that a token is bound to.
type Ref struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// Bound is the claim "kubernetes.io": whose token it is, and what it ends with.
type Bound struct {
	Namespace      string `json:"namespace"`
	ServiceAccount Ref    `json:"serviceaccount"`
	Pod            *Ref   `json:"pod,omitempty"`
	Secret         *Ref   `json:"secret,omitempty"`
	Node           *Ref   `json:"node,omitempty"`
}

// Claims are what a token says.
type Claims struct {
	jwt.Claims
	Bound Bound `json:"kubernetes.io"`
}

// verifiedMax bounds the tokens whose signature is remembered as good: checking one costs some 60 us.
const verifiedMax = 4096

// Issuer signs and verifies. It may be used by many goroutines.
type Issuer struct {
	issuer    string
	signer    jose.Signer
	keys      jose.JSONWebKeySet // public
	discovery []byte
	jwks      []byte
	verified  *lru.Cache // sha256 of a token -> *Claims
}

// NewKey makes a signing key, as PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key for service account tokens: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key for service account tokens: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// New makes an issuer with a URL for a name. The first of the keys (PEM) signs; tokens of the others are still good.
func New(issuer string, keys ...[]byte) (*Issuer, error) {
	i := &Issuer{issuer: issuer, verified: lru.New(verifiedMax)}
	for n, text := range keys {
		private, err := parseKey(text)
		if err != nil {
			return nil, err
		}
		id, err := keyID(&private.PublicKey)
		if err != nil {
			return nil, err
		}
		i.keys.Keys = append(i.keys.Keys, jose.JSONWebKey{Key: &private.PublicKey, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
		if n > 0 {
			continue
		}
		key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: id}}
		if i.signer, err = jose.NewSigner(key, nil); err != nil {
			return nil, fmt.Errorf("preparing to sign service account tokens: %w", err)
		}
	}
	if i.signer == nil {
		return nil, errors.New("there is no key to sign service account tokens with")
	}
	return i, i.describe()
}

// KeyIDs name the keys, the one that signs first.
func (i *Issuer) KeyIDs() []string {
	out := make([]string, len(i.keys.Keys))
	for n := range i.keys.Keys {
		out[n] = i.keys.Keys[n].KeyID
	}
	return out
}

// SignedBy is the ID of the key that a token says it was signed by.
func SignedBy(token string) (string, error) {
	t, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	return t.Headers[0].KeyID, nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("a key for service account tokens is not PEM")
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a key for service account tokens: %w", err)
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key for service account tokens is a %T, not ECDSA", any)
	}
	return key, nil
}

// keyID follows from the key, so that every server names it alike.
func keyID(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// describe prepares the two documents.
func (i *Issuer) describe() error {
	var err error
	if i.jwks, err = json.Marshal(i.keys); err != nil {
		return fmt.Errorf("encoding the public keys: %w", err)
	}
	i.discovery, err = json.Marshal(map[string]any{
		"issuer": i.issuer, "jwks_uri": i.issuer + JWKSPath, "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
	return err
}

// Paths of the documents below the issuer's URL.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/openid/v1/jwks"
)

// Discovery is the OpenID provider's configuration, as JSON.
func (i *Issuer) Discovery() []byte { return i.discovery }

// JWKS is the set of public keys, as JSON (RFC 7517).
func (i *Issuer) JWKS() []byte { return i.jwks }

// Audience is the one of tokens for the API itself.
func (i *Issuer) Audience() string { return i.issuer }

// Issue signs. The issuer's name is filled in.
func (i *Issuer) Issue(c Claims) (string, error) {
	c.Issuer = i.issuer
	token, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a service account token: %w", err)
	}
	return token, nil
}

// ErrForeign says that a token is not of this issuer: somebody else may know it.
var ErrForeign = errors.New("the token is not of this cluster")

// Verify checks the signature, the issuer and the time, and leaves the audience to the caller.
func (i *Issuer) Verify(token string, now time.Time) (*Claims, error) {
	sum := sha256.Sum256([]byte(token))
	c, known := i.verified.Get(sum)
	if !known {
		fresh, err := i.verify(token)
		if err != nil {
			return nil, err
		}
		i.verified.Add(sum, fresh)
		c = fresh
	}
	claims := c.(*Claims)
	if err := claims.ValidateWithLeeway(jwt.Expected{Time: now}, 0); err != nil {
		return nil, fmt.Errorf("the service account token is not valid now: %w", err)
	}
	return claims, nil
}

func (i *Issuer) verify(token string) (*Claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, ErrForeign
	}
	var unsafe jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&unsafe); err != nil || unsafe.Issuer != i.issuer {
		return nil, ErrForeign
	}
	for _, key := range i.keys.Key(parsed.Headers[0].KeyID) {
		c := &Claims{}
		if parsed.Claims(key.Key, c) == nil {
			return c, nil
		}
	}
	return nil, errors.New("the service account token has no valid signature")
}

// Matching is which of the audiences that somebody accepts a token has.
func Matching(c *Claims, accepted []string) []string {
	var out []string
	for _, a := range accepted {
		if slices.Contains(c.Audience, a) {
			out = append(out, a)
		}
	}
	return out
}
