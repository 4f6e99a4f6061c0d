package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"slices"
	"time"
)

// UserRequest is a signing request (PKCS #10, RFC 2986) of somebody who is not a peer.
type UserRequest struct {
	parsed *x509.CertificateRequest
}

// ParseUserRequest reads one (PEM) and checks that its sender has the key.
func ParseUserRequest(text []byte) (*UserRequest, error) {
	request, err := provenRequest(text)
	if err != nil {
		return nil, err
	}
	return &UserRequest{request}, nil
}

// Subject is who the certificate would be for.
func (r *UserRequest) Subject() pkix.Name { return r.parsed.Subject }

// Names counts the alternative names of each kind.
func (r *UserRequest) Names() (dns, ip, email, uri int) {
	p := r.parsed
	return len(p.DNSNames), len(p.IPAddresses), len(p.EmailAddresses), len(p.URIs)
}

// ErrPeerName says that a request asks for the name of a server or node of the cluster, which only joining gives.
var ErrPeerName = errors.New("the request asks for an identity of the cluster's own agents")

// SignUser makes the certificate (PEM) that was asked for, for other uses than between peers: no certificate that this signs
// opens the peers' port.
func (c *CA) SignUser(r *UserRequest, usage x509.KeyUsage, extended []x509.ExtKeyUsage, life time.Duration, now time.Time) ([]byte, error) {
	if slices.ContainsFunc(r.parsed.URIs, func(u *url.URL) bool { return u.Scheme == uriScheme }) {
		return nil, ErrPeerName
	}
	return c.signKey(&x509.Certificate{
		Subject:  r.parsed.Subject,
		DNSNames: r.parsed.DNSNames, IPAddresses: r.parsed.IPAddresses, EmailAddresses: r.parsed.EmailAddresses, URIs: r.parsed.URIs,
		KeyUsage: usage, ExtKeyUsage: extended, NotAfter: now.Add(life),
	}, crypto.PublicKey(r.parsed.PublicKey), now)
}
