package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Material is all that an agent keeps of its identity: put these three PEM texts on disk.
type Material struct {
	Pair
	CA []byte // PEM
}

// Identity is who this process is to its peers. Key and certificate can be replaced while connections
// are made: every handshake takes the newest. Safe for use by many goroutines.
type Identity struct {
	peer    Peer
	current atomic.Pointer[held]
}

// held is immutable: what one handshake uses.
type held struct {
	material Material
	cert     tls.Certificate // leaf, then the CA, so that a joiner can find the pinned CA in the chain
	leaf     *x509.Certificate
	pool     *x509.CertPool
}

// NewIdentity reads the material and checks that key, certificate and CA belong together.
func NewIdentity(m Material) (*Identity, error) {
	h, peer, err := hold(m)
	if err != nil {
		return nil, err
	}
	id := &Identity{peer: peer}
	id.current.Store(h)
	return id, nil
}

func hold(m Material) (*held, Peer, error) {
	pair, err := tls.X509KeyPair(m.Cert, m.Key)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("loading the identity: %w", err)
	}
	ca, err := ParseCert(m.CA)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("loading the identity's CA: %w", err)
	}
	if err := pair.Leaf.CheckSignatureFrom(ca); err != nil {
		return nil, Peer{}, fmt.Errorf("loading the identity: its certificate is not of this cluster's CA: %w", err)
	}
	peer, err := PeerOf(pair.Leaf)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("loading the identity: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	leaf := pair.Leaf
	pair.Certificate = [][]byte{leaf.Raw, ca.Raw}
	return &held{material: m, cert: pair, leaf: leaf, pool: pool}, peer, nil
}

// Peer is this identity's role and name.
func (id *Identity) Peer() Peer { return id.peer }

// Material is the newest material, to be kept on disk.
func (id *Identity) Material() Material { return id.current.Load().material }

// NotAfter is when the present certificate ends.
func (id *Identity) NotAfter() time.Time { return id.current.Load().leaf.NotAfter }

// RenewAt is when to renew: after two thirds of the certificate's life.
func (id *Identity) RenewAt() time.Time { return renewAt(id.current.Load().leaf) }

func renewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// Replace takes new material into use for the handshakes that follow. It must be the same peer's.
func (id *Identity) Replace(m Material) error {
	h, peer, err := hold(m)
	if err != nil {
		return err
	}
	if peer != id.peer {
		return fmt.Errorf("the new certificate is %s's, not %s's", peer, id.peer)
	}
	id.current.Store(h)
	return nil
}

// Renewer has a signing request signed by the cluster: it returns certificate and CA (PEM).
type Renewer func(ctx context.Context, request []byte) (cert, ca []byte, err error)

// Renew makes a new key and takes its certificate into use.
func (id *Identity) Renew(ctx context.Context, renew Renewer) error {
	request, key, err := NewRequest(id.peer)
	if err != nil {
		return err
	}
	cert, ca, err := renew(ctx, request)
	if err != nil {
		return fmt.Errorf("renewing the certificate of %s: %w", id.peer, err)
	}
	return id.Replace(Material{Pair: Pair{Cert: cert, Key: key}, CA: ca})
}

// Run renews for as long as ctx lives, and calls renewed with each new material (to be kept) or with
// the error of an attempt, after which it tries again, less and less often.
func (id *Identity) Run(ctx context.Context, renew Renewer, renewed func(Material, error)) error {
	wait := time.Until(id.RenewAt())
	for retry := renewRetryMin; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		err := id.Renew(ctx, renew)
		renewed(id.Material(), err)
		if err != nil {
			wait, retry = retry, min(2*retry, renewRetryMax)
			continue
		}
		wait, retry = max(time.Until(id.RenewAt()), renewRetryMin), renewRetryMin
	}
}

// ServerConfig is TLS 1.3 for the accepting side: the other must be of the cluster and, if allowed is
// not nil, be allowed.
func (id *Identity) ServerConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert, // VerifyConnection checks it, against the newest CA
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &id.current.Load().cert, nil },
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := id.verify(state, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// OpenServerConfig is ServerConfig without the demand for a client certificate: for joining.
func (id *Identity) OpenServerConfig(protocols ...string) *tls.Config {
	config := id.ServerConfig(protocols...)
	config.ClientAuth = tls.NoClientCert
	config.VerifyConnection = nil
	return config
}

// ClientConfig is TLS 1.3 for the dialling side: the other must be whom we expect.
func (id *Identity) ClientConfig(expect Peer, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protocol},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.current.Load().cert, nil
		},
		// Go would compare the address dialled with the certificate; we compare the name expected instead.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			got, err := id.verify(state, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			if !expect.Matches(got) {
				return fmt.Errorf("expected %s and met %s", expect, got)
			}
			return nil
		},
	}
}

// PeerOf is who the other end of a finished handshake is.
func (id *Identity) PeerOf(state tls.ConnectionState) (Peer, error) {
	if len(state.PeerCertificates) == 0 {
		return Peer{}, ErrNotPeer
	}
	return PeerOf(state.PeerCertificates[0])
}

func (id *Identity) verify(state tls.ConnectionState, usage x509.ExtKeyUsage) (Peer, error) {
	if len(state.PeerCertificates) == 0 {
		return Peer{}, errors.New("the other side showed no certificate")
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{Roots: id.current.Load().pool, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return Peer{}, fmt.Errorf("the other side is not of this cluster: %w", err)
	}
	return PeerOf(leaf)
}

// PinnedConfig is TLS 1.3 for joining: the only thing known of the cluster is its CA's hash. The other must
// be a server whose chain ends at that CA.
func PinnedConfig(caHash, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, // VerifyConnection checks the pinned CA instead
		VerifyConnection:   func(state tls.ConnectionState) error { return verifyPinned(state, caHash) },
	}
}

// ErrPin says that the cluster met is not the token's.
var ErrPin = errors.New("the server belongs to another cluster than the join token: check the address, or make a new token there")

func verifyPinned(state tls.ConnectionState, caHash string) error {
	i := slices.IndexFunc(state.PeerCertificates, func(c *x509.Certificate) bool { return c.IsCA && certHash(c.Raw) == caHash })
	if i < 0 {
		return ErrPin
	}
	pool := x509.NewCertPool()
	pool.AddCert(state.PeerCertificates[i])
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return fmt.Errorf("%w (%w)", ErrPin, err)
	}
	peer, err := PeerOf(leaf)
	if err != nil || peer.Role != RoleServer {
		return errors.New("the machine at this address is not a server of the cluster")
	}
	return nil
}
