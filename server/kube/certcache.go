package kube

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// certCache remembers who a chain of client certificates is, since verifying its signature costs more
// than the rest of a small request, and a connection shows the same chain with each of its requests.
// What it remembers ends with the certificate, after certCacheAge, and with a change of the CA.
type certCache struct {
	next authenticator.Request
	ca   func() *x509.CertPool
	now  func() time.Time

	mu    sync.RWMutex
	known map[[sha256.Size]byte]knownCert
}

type knownCert struct {
	answer *authenticator.Response
	ca     *x509.CertPool
	until  time.Time
}

func newCertCache(next authenticator.Request, ca func() *x509.CertPool) *certCache {
	return &certCache{next: next, ca: ca, now: time.Now, known: map[[sha256.Size]byte]knownCert{}}
}

// AuthenticateRequest implements authenticator.Request. Only acceptance is remembered.
func (c *certCache) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return c.next.AuthenticateRequest(r)
	}
	key, ca, now := chainKey(r.TLS.PeerCertificates), c.ca(), c.now()
	c.mu.RLock()
	k, ok := c.known[key]
	c.mu.RUnlock()
	if ok && k.ca == ca && now.Before(k.until) {
		return k.answer, true, nil
	}
	answer, ok, err := c.next.AuthenticateRequest(r)
	if ok && err == nil {
		c.remember(key, knownCert{answer, ca, earliestEnd(r.TLS.PeerCertificates, now.Add(certCacheAge))})
	}
	return answer, ok, err
}

// remember forgets all when it is full: a flood of certificates costs verifications, not memory.
func (c *certCache) remember(key [sha256.Size]byte, k knownCert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= certCacheMax {
		clear(c.known)
	}
	c.known[key] = k
}

func chainKey(chain []*x509.Certificate) (key [sha256.Size]byte) {
	if len(chain) == 1 {
		return sha256.Sum256(chain[0].Raw)
	}
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw) // DER tells its own length, so chains cannot be confused
	}
	h.Sum(key[:0])
	return key
}

func earliestEnd(chain []*x509.Certificate, end time.Time) time.Time {
	for _, c := range chain {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}
