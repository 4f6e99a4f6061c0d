package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
)

const (
	blockCert    = "CERTIFICATE"
	blockKey     = "PRIVATE KEY"
	blockRequest = "CERTIFICATE REQUEST"
)

// EncodeCert wraps DER in PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: der})
}

// EncodeKey writes a private key as PKCS#8 PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// ParseCert reads the first certificate of a PEM text.
func ParseCert(text []byte) (*x509.Certificate, error) {
	der, err := block(text, blockCert)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a certificate: %w", err)
	}
	return cert, nil
}

// ParseKey reads an ECDSA private key from PKCS#8 PEM.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := block(text, blockKey)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a private key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("parsing a private key: it is a %T, not an ECDSA key", key)
	}
	return ec, nil
}

// NewRequest makes a key and a signing request for it, both PEM. The key never leaves the machine.
func NewRequest(p Peer) (request, key []byte, err error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	private, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	user, group := p.subject()
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: user, Organization: []string{group}},
		URIs:    []*url.URL{p.uri()},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	if err != nil {
		return nil, nil, fmt.Errorf("making a signing request: %w", err)
	}
	if key, err = EncodeKey(private); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der}), key, nil
}

// parseRequest returns the key of an agent's signing request.
func parseRequest(text []byte) (*ecdsa.PublicKey, error) {
	request, err := provenRequest(text)
	if err != nil {
		return nil, err
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("parsing a signing request: its key is not ECDSA P-256")
	}
	return key, nil
}

// provenRequest reads a signing request (PEM) whose sender has proved that he holds the key.
func provenRequest(text []byte) (*x509.CertificateRequest, error) {
	der, err := block(text, blockRequest)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a signing request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking a signing request: %w", err)
	}
	return request, nil
}

func block(text []byte, kind string) ([]byte, error) {
	if len(text) > maxPEMBytes {
		return nil, fmt.Errorf("a PEM text of %d bytes is longer than %d", len(text), maxPEMBytes)
	}
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			return nil, fmt.Errorf("no PEM block %q found", kind)
		}
		if b.Type == kind {
			return b.Bytes, nil
		}
		text = rest
	}
}
