package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// CA is the cluster's certificate authority: ECDSA P-256. It is immutable.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate and its key, both PEM.
type Pair struct{ Cert, Key []byte }

// NewCA makes the authority of a new cluster.
func NewCA(cluster string, now time.Time) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: cluster + " cluster CA", Organization: []string{"peapod"}},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.AddDate(caValidityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the cluster CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the cluster CA: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadCA reads back what Pair returned.
func LoadCA(p Pair) (*CA, error) {
	cert, err := ParseCert(p.Cert)
	if err != nil {
		return nil, fmt.Errorf("loading the cluster CA: %w", err)
	}
	key, err := ParseKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("loading the cluster CA: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("loading the cluster CA: the certificate is not an authority's")
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("loading the cluster CA: the key does not belong to the certificate")
	}
	return &CA{cert: cert, key: key}, nil
}

// Pair is the CA as PEM, its secret key included.
func (c *CA) Pair() (Pair, error) {
	key, err := EncodeKey(c.key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: c.CertPEM(), Key: key}, nil
}

// CertPEM is the CA's certificate alone.
func (c *CA) CertPEM() []byte { return EncodeCert(c.cert.Raw) }

// Certificate is the CA's certificate; it must not be changed.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// Hash is the hex SHA-256 of the certificate's DER, which a join token pins.
func (c *CA) Hash() string { return certHash(c.cert.Raw) }

func certHash(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// SignPeer makes the identity certificate of a peer (PEM) for the key in a signing request (PEM).
// Only the key is taken from the request: who the peer is, is the caller's decision.
func (c *CA) SignPeer(request []byte, p Peer, now time.Time) ([]byte, error) {
	key, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("signing for %s: %w", p, err)
	}
	user, group := p.subject()
	return c.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		NotAfter:    now.Add(PeerValidity),
		URIs:        []*url.URL{p.uri()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key, now)
}

// IssuePeer makes key and certificate of a peer at once: for the first server, which has nobody to ask.
func (c *CA) IssuePeer(p Peer, now time.Time) (Pair, error) {
	request, key, err := NewRequest(p)
	if err != nil {
		return Pair{}, err
	}
	cert, err := c.SignPeer(request, p, now)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: key}, nil
}

// IssueServing makes the API's serving certificate of a server: the names of the kubernetes service in
// domain (the cluster's domain, as "cluster.local"), localhost, the server's own name, any more names, and the addresses.
func (c *CA) IssueServing(server, domain string, names []string, addresses []net.IP, now time.Time) (Pair, error) {
	service := "kubernetes.default.svc"
	dns := append([]string{"localhost", "kubernetes", "kubernetes.default", service, service + "." + domain, server}, names...)
	return c.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		NotAfter:    now.Add(ServingValidity),
		DNSNames:    dns,
		IPAddresses: addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, now)
}

// IssueClient makes the certificate of an API user. Groups are Kubernetes' ("system:masters").
func (c *CA) IssueClient(user string, groups []string, validity time.Duration, now time.Time) (Pair, error) {
	return c.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		NotAfter:    now.Add(validity),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now)
}

func (c *CA) issue(template *x509.Certificate, now time.Time) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	cert, err := c.sign(template, &key.PublicKey, now)
	if err != nil {
		return Pair{}, err
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: keyPEM}, nil
}

// sign completes a template for a key of our own making.
func (c *CA) sign(template *x509.Certificate, key *ecdsa.PublicKey, now time.Time) ([]byte, error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return c.signKey(template, key, now)
}

// signKey completes a template that says what the key is for. No certificate outlives the CA.
func (c *CA) signKey(template *x509.Certificate, key crypto.PublicKey, now time.Time) ([]byte, error) {
	template.SerialNumber = newSerial()
	template.NotBefore = now.Add(-skew)
	template.BasicConstraintsValid = true
	if template.NotAfter.After(c.cert.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key, c.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %q: %w", template.Subject.CommonName, err)
	}
	return EncodeCert(der), nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// newSerial has 127 random bits: unique without a register of what was issued.
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
