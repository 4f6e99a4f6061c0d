package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"
	"time"
)

// requestOf is a signing request of a user with a key of his own.
func requestOf(t *testing.T, key any, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der})
}

func userKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestUsersRequestIsSigned(t *testing.T) {
	now := time.Now()
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	bits, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{"ECDSA": userKey(t), "RSA": bits} {
		r, err := ParseUserRequest(requestOf(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"dev"}}, DNSNames: []string{"a.b"}}))
		if err != nil {
			t.Fatal(name, err)
		}
		text, err := ca.SignUser(r, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Hour, now)
		if err != nil {
			t.Fatal(name, err)
		}
		der, err := block(text, "CERTIFICATE")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca.Certificate())
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cert.Subject.CommonName != "jane" || cert.Subject.Organization[0] != "dev" || cert.DNSNames[0] != "a.b" || cert.NotAfter.After(now.Add(time.Hour)) || cert.IsCA {
			t.Errorf("%s: %+v", name, cert.Subject)
		}
	}
}

// TestUsersRequestCannotNameAnAgent: Invariant 46. A user's request must not become an agent's certificate.
func TestUsersRequestCannotNameAnAgent(t *testing.T) {
	ca, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseUserRequest(requestOf(t, userKey(t), &x509.CertificateRequest{URIs: []*url.URL{Peer{RoleServer, "server1"}.uri()}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.SignUser(r, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Hour, time.Now()); !errors.Is(err, ErrPeerName) {
		t.Errorf("%v", err)
	}
}

func TestUsersRequestThatIsNone(t *testing.T) {
	good := requestOf(t, userKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}})
	der, err := block(good, blockRequest)
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	for name, text := range map[string][]byte{"nothing": nil, "no PEM": []byte("x"), "a changed signature": pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der})} {
		if _, err := ParseUserRequest(text); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
