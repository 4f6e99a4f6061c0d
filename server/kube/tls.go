package kube

import "crypto/tls"

// servingTLS asks for client certificates without demanding them, since tokens are a way in too;
// the authenticator verifies them.
func servingTLS(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.ClientAuth = tls.RequestClientCert
	c.NextProtos = []string{"h2", "http/1.1"}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}
