package kube

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// A chain is verified once, again when the CA or the time has changed, and a refusal is never remembered.
func TestCertCache(t *testing.T) {
	now, ca, asked, refuse := time.Unix(1000, 0), x509.NewCertPool(), 0, false
	c := newCertCache(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		if asked++; refuse {
			return nil, false, errors.New("no")
		}
		return &authenticator.Response{User: &user.DefaultInfo{Name: "ann"}}, true, nil
	}), func() *x509.CertPool { return ca })
	c.now = func() time.Time { return now }
	cert := func(raw string, life time.Duration) *x509.Certificate {
		return &x509.Certificate{Raw: []byte(raw), NotAfter: now.Add(life)}
	}
	ask := func(wantAsked int, wantOK bool, chain ...*x509.Certificate) {
		t.Helper()
		_, ok, _ := c.AuthenticateRequest(&http.Request{TLS: &tls.ConnectionState{PeerCertificates: chain}})
		if ok != wantOK || asked != wantAsked {
			t.Fatalf("ok=%v after %d verifications, want ok=%v after %d", ok, asked, wantOK, wantAsked)
		}
	}
	long, short := cert("long", time.Hour), cert("short", time.Second)
	ask(1, true, long)
	ask(1, true, long)
	ask(2, true, short)
	ask(3, true, long, short)
	now = now.Add(2 * time.Second)
	refuse = true
	ask(4, false, short)
	ask(5, false, short)
	ask(5, true, long)
	ca = x509.NewCertPool()
	ask(6, false, long)
	refuse = false
	ask(7, true, long)
	now = now.Add(certCacheAge)
	ask(8, true, long)
	for i := range certCacheMax + 1 {
		ask(9+i, true, cert(time.Duration(i).String(), time.Hour))
	}
	if len(c.known) > certCacheMax {
		t.Fatalf("%d chains are known, %d at most should be", len(c.known), certCacheMax)
	}
	c.AuthenticateRequest(&http.Request{})
}
