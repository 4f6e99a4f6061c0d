package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

type certificate = *tls.Certificate

// certificate is what a client is shown that asks for a host: of those for the host the first that the client can use. A host without
// one gets a certificate that nobody signed, so that whoever does not mind can go on.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (certificate, error) {
	set := p.routing.Load().certificatesOf(hostName(hello.ServerName))
	for _, c := range set {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if len(set) > 0 {
		return set[0], nil // whose names are others, perhaps; its owner shall see that
	}
	return p.own()
}

func (r *routing) certificatesOf(host string) []certificate {
	if set := r.certificates.exact[host]; len(set) > 0 {
		return set
	}
	_, parent, _ := strings.Cut(host, ".")
	if set := r.certificates.wildcard[parent]; len(set) > 0 {
		return set
	}
	return r.certificates.exact[""]
}

// selfSigned makes a certificate for hosts that nobody vouches for.
func selfSigned(hosts ...string) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of a certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Peapod ingress without a certificate"},
		DNSNames: hosts, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
