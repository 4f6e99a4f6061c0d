package netproxy

import (
	"net/netip"
	"time"
)

// Table is everything that the proxy and the DNS server need to know. A table is immutable;
// a new state of the cluster is a new table, handed over with Swap.
type Table struct {
	// Generation tells tables apart; Proxy.Generation returns that of the table in force.
	Generation    uint64
	NodeName      string
	ClusterDomain string       // "cluster.local"
	NodeAddresses []netip.Addr // where NodePorts listen, beside loopback
	Services      []Service
	Pods          []PodName // for pod records; may be empty
	// Lost are the addresses of machines that are taken for dead. Nobody will answer on the connections to endpoints there, nor end them.
	Lost []netip.Prefix
	// Allow says whether a client may be connected to an endpoint; nil allows all. It is asked for each new connection or
	// session, from several threads at once, and must be quick. Its answers may change while the table is in force.
	Allow func(client netip.Addr, to netip.AddrPort, p Protocol) bool `json:"-"`
	// Keeps says whether what an endpoint answers to a client's address comes back to this host; nil is always. Where it does not, services that keep
	// their clients' addresses connect from the host's own. It is asked as Allow is.
	Keeps func(client, endpoint netip.Addr) bool `json:"-"`
}

// Service is one service with its virtual addresses. Headless services have none.
type Service struct {
	Namespace, Name string
	VIPs            []netip.Addr
	ExternalName    string
	Headless        bool
	Ports           []Port
	// Portless are the endpoints of a headless service that has no ports: it has names all the same. Their port is 0.
	Portless []Endpoint
	// AffinityTimeout is the time for which a client address sticks to an endpoint; 0 is no affinity.
	AffinityTimeout time.Duration
	// InternalLocal and ExternalLocal keep traffic on endpoints of this node.
	InternalLocal, ExternalLocal bool
	PublishNotReady              bool
	// ExternalIPs and BalancerIPs answer as node ports do, on the ports of the service. They are made local, but for BalancerIPs that
	// are Announced, which a link of this node has.
	ExternalIPs, BalancerIPs []netip.Addr
	Announced                bool
	// SourceRanges, if any, are the only clients that BalancerIPs serve; others are reset, and their datagrams dropped.
	SourceRanges []netip.Prefix
	// KeepInternal and KeepExternal have endpoints see the client's own address on connections and sessions of the scope, by transparent
	// sockets. What endpoints answer to clients' addresses must be led back to this host.
	KeepInternal, KeepExternal bool
	// ProxyHeader has each TCP connection to an endpoint begin with who the client is, in the PROXY protocol's version 2.
	ProxyHeader bool
}

// Port of a service.
type Port struct {
	Name     string
	Protocol Protocol
	App      string // what is spoken over Protocol, as the service says (appProtocol); the proxy itself carries anything
	Port     uint16
	NodePort uint16 // 0 is none
	// NodeIP is the only one of the node's addresses where NodePort listens; the zero value is all.
	NodeIP    netip.Addr
	Endpoints []Endpoint
}

// Endpoint is one backend of a port.
type Endpoint struct {
	Address     netip.AddrPort
	Hostname    string // for DNS records of headless services
	Node        string
	Ready       bool // takes new connections
	Serving     bool // ready but for termination
	Terminating bool
	Near        bool // preferred by traffic that no policy keeps local
}

// PodName names a pod's address.
type PodName struct {
	Namespace, Hostname, Subdomain string
	Address                        netip.Addr
}

// Protocol of a port.
type Protocol uint8

// Protocols.
const (
	TCP Protocol = iota
	UDP
)
