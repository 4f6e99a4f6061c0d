package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/server/kube"
)

// serveAPI waits for the cluster's state and then serves the Kubernetes API.
func (s *Server) serveAPI(ctx context.Context) error {
	ca, network, err := s.waitFounded(ctx)
	if err != nil {
		return err
	}
	issuer, err := s.tokens()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	c := kube.Config{
		Store: &leasedStore{s.store, s.watchman.lastHeard}, Nodes: s.nodes, TLS: &tls.Config{GetCertificate: s.servingCertificate(ca, network)},
		ClientCA: func() *x509.CertPool { return pool }, FrontProxy: (&frontProxy{settings: s.meta, now: s.now}).certificate, Tokens: s.currentTokens(issuer), Policy: newPolicyState(s.state), NodeState: nodeState{s.state, s.store}, ServiceCIDR: network.ServiceCIDR, ServiceCIDR6: network.ServiceCIDR6, DNSAddress: network.DNSVIP(),
		Version: version.Git()[1:], Address: s.cfg.AdvertiseAPI, Ready: s.Ready, Metrics: s.cfg.Metrics, WhatIf: http.HandlerFunc(s.serveWhatIf), Logger: s.log.Named("api"),
	}
	if s.audit != nil {
		c.Audit, c.AuditRules = s.audit, s.audit.Rules
	}
	api, err := kube.New(c)
	if err != nil {
		return err
	}
	s.api.Store(api)
	return api.Run(ctx, s.cfg.API)
}

// waitFounded returns once the CA, the network and the keys for tokens are in the local state.
func (s *Server) waitFounded(ctx context.Context) (*pki.CA, Network, error) {
	for {
		ca, err := s.meta.ca()
		if err == nil {
			var network Network
			if network, err = s.meta.network(); err == nil {
				if _, err = s.tokens(); err == nil {
					return ca, network, nil
				}
			}
		}
		if err != nil && !errors.Is(err, errNotReady) {
			return nil, Network{}, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, Network{}, ctx.Err()
		}
	}
}

// servingCertificate issues the API's certificate, and a new one when two thirds of its life are over:
// every handshake asks.
func (s *Server) servingCertificate(ca *pki.CA, network Network) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	var current *tls.Certificate
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if current != nil && s.now().Before(renewTime(current.Leaf)) {
			return current, nil
		}
		next, err := s.issueServing(ca, network)
		if err != nil {
			return current, err
		}
		current = next
		return current, nil
	}
}

func renewTime(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func (s *Server) issueServing(ca *pki.CA, network Network) (*tls.Certificate, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, network.KubernetesVIP().AsSlice()}
	var names []string
	if host, _, err := net.SplitHostPort(s.cfg.AdvertiseAPI); err == nil {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, host)
		}
	}
	pair, err := ca.IssueServing(s.cfg.Name, network.Domain, names, addresses, s.now())
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(pair.Cert, pair.Key)
	return &c, err
}
