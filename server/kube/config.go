package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/hashicorp/go-hclog"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/server/nodeauth"
	"github.com/peapod-sh/peapod/server/rbac"
	"github.com/peapod-sh/peapod/server/tokens"
)

// NodeTransport reaches the HTTP handler of a node's agent.
type NodeTransport interface {
	// DialNode opens a stream that carries HTTP/1.1 to the node.
	DialNode(ctx context.Context, node string) (net.Conn, error)
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }

// Has says whether the range includes a port.
func (r PortRange) Has(p int32) bool { return r.First <= p && p <= r.Last }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Config is what a Server is made of.
type Config struct {
	Store Store
	// Nodes reaches the agents; nil makes log, exec and their like answer 503.
	Nodes NodeTransport
	// TLS has the serving certificate (Certificates or GetCertificate). Needed by Run only.
	TLS *tls.Config
	// ClientCA gives the authorities whose client certificates are users: CN is the name, O the
	// groups. It is called for every new user, so that a renewed CA takes effect. nil trusts nobody.
	ClientCA func() *x509.CertPool
	// FrontProxy gives the certificate by which services that serve a part of the API know that a request comes from this server, which
	// names the user in its headers. nil gives none.
	FrontProxy func() (*tls.Certificate, error)
	// Tokens answers the signer of service account tokens, whose keys may turn; nil issues and accepts none.
	Tokens func() *tokens.Issuer
	// Authenticators are asked after client certificates and service account tokens, in order.
	Authenticators []authenticator.Request
	// Policy is the roles and bindings that decide what a user may do, beside system:masters, who may do everything. With it, requests
	// without credentials are those of system:anonymous.
	Policy rbac.State
	// NodeState is what decides which objects a user of the group system:nodes may read and write; nil gives them no rights. It is asked
	// with Policy only.
	NodeState nodeauth.State
	// Authorizer decides instead of Policy. If both are nil, system:masters may do everything, and other users read discovery, version
	// and health.
	Authorizer authorizer.Authorizer
	// Rules lists what a user may do; nil if Authorizer's rules cannot be listed.
	Rules authorizer.RuleResolver
	// ServiceCIDR is where cluster IPs come from. Its first address is that of the service
	// default/kubernetes.
	ServiceCIDR netip.Prefix
	// ServiceCIDR6 is where those of the second family come from; not valid in clusters of one.
	ServiceCIDR6 netip.Prefix
	// DNSAddress is kept for the cluster's DNS; the zero value is the tenth address of ServiceCIDR.
	DNSAddress netip.Addr
	// NodePorts is where node ports come from; the zero value is 30000-32767.
	NodePorts PortRange
	// Version is the Kubernetes version that clients see, "1.37.2".
	Version string
	// Address is the host:port that discovery documents name.
	Address string
	// Ready is asked by /readyz; nil is always ready.
	Ready func() error
	// Metrics serves /metrics; nil is 404.
	Metrics http.Handler
	// WhatIf serves /peapod/plan, which says what would become of the cluster's pods if objects were changed; nil is 404.
	WhatIf http.Handler
	// Audit is where requests are written down, and AuditRules which and how much of them; nil writes nothing.
	Audit      audit.Sink
	AuditRules audit.PolicyRuleEvaluator
	// Limits of load; the zero value has good ones.
	Limits Limits
	Logger hclog.Logger
}

// complete checks the configuration and fills in defaults.
func (c *Config) complete() error {
	if c.Store == nil {
		return fmt.Errorf("kube: the configuration has no Store")
	}
	if !c.ServiceCIDR.IsValid() || !c.ServiceCIDR.Addr().Is4() || c.ServiceCIDR.Bits() > 28 {
		return fmt.Errorf("kube: the service CIDR %q is not an IPv4 network of 16 addresses or more", c.ServiceCIDR)
	}
	if c.ServiceCIDR6.IsValid() && (!c.ServiceCIDR6.Addr().Is6() || c.ServiceCIDR6.Bits() > 124) {
		return fmt.Errorf("kube: the second service CIDR %q is not an IPv6 network of 16 addresses or more", c.ServiceCIDR6)
	}
	c.ServiceCIDR = c.ServiceCIDR.Masked()
	if !c.DNSAddress.IsValid() {
		c.DNSAddress = addressAt(c.ServiceCIDR, dnsPlace)
	}
	if c.NodePorts == (PortRange{}) {
		c.NodePorts = PortRange{30000, 32767}
	}
	if c.Version == "" {
		c.Version = "1.37.2"
	}
	if _, err := version.ParseSemantic(c.Version); err != nil {
		return fmt.Errorf("kube: the version %q is not a semantic version: %w", c.Version, err)
	}
	c.Limits = c.Limits.withDefaults()
	if c.Address == "" {
		c.Address = "127.0.0.1:6443"
	}
	if c.Authorizer == nil && c.Policy == nil {
		c.Authorizer = bootstrapAuthorizer
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return nil
}
