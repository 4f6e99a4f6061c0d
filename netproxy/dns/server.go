package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	mdns "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/netproxy"
)

// Config of a server.
type Config struct {
	Addr netip.AddrPort // to listen on by UDP and TCP; it need not be local yet
	// Upstreams answer what is not the cluster's; nil means those of /etc/resolv.conf, empty means none.
	Upstreams []netip.AddrPort
	Domain    string // of the cluster, for tables that name none; "cluster.local" by default
	Logger    hclog.Logger
}

// Server answers on one address.
type Server struct {
	log     hclog.Logger
	domain  string
	zone    atomic.Pointer[zone]
	forward *forwarder
	packet  net.PacketConn
	stream  net.Listener
}

// New opens the sockets, so that questions wait rather than fail until Run.
func New(c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.Upstreams == nil {
		found, err := ReadUpstreams("/etc/resolv.conf")
		if err != nil {
			c.Logger.Warn("only names of the cluster will resolve", "error", err)
		}
		c.Upstreams = found
	}
	s := &Server{log: c.Logger, domain: c.Domain, forward: newForwarder(others(c.Upstreams, c.Addr))}
	s.Swap(&netproxy.Table{})
	lc := net.ListenConfig{Control: freebind}
	lc.SetMultipathTCP(false)
	var err error
	if s.stream, err = lc.Listen(context.Background(), "tcp", c.Addr.String()); err != nil {
		return nil, fmt.Errorf("listening for DNS on tcp %s: %w", c.Addr, err)
	}
	// The stream's port, so that port 0 means the same one for both.
	if s.packet, err = lc.ListenPacket(context.Background(), "udp", s.stream.Addr().String()); err != nil {
		_ = s.stream.Close()
		return nil, fmt.Errorf("listening for DNS on udp %s: %w", c.Addr, err)
	}
	return s, nil
}

// others leaves out the server itself: a node whose resolver is the cluster's would ask for ever.
func others(upstreams []netip.AddrPort, self netip.AddrPort) (out []netip.AddrPort) {
	for _, u := range upstreams {
		if u != self {
			out = append(out, u)
		}
	}
	return out
}

func freebind(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	})
}

// Addr is the address that the server listens on.
func (s *Server) Addr() netip.AddrPort { return s.stream.Addr().(*net.TCPAddr).AddrPort() }

// Swap puts a table in force for the questions that come after it.
func (s *Server) Swap(t *netproxy.Table) { s.zone.Store(newZone(t, s.domain)) }

// Run answers until ctx ends, and closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) { s.serve(ctx, w, r) })
	for _, one := range []*mdns.Server{
		{PacketConn: s.packet, Handler: handler, UDPSize: udpSizeMax},
		{Listener: s.stream, Handler: handler, ReadTimeout: idleTCP, WriteTimeout: idleTCP},
	} {
		group.Go(func() error { return run(ctx, one) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("serving DNS on %s: %w", s.Addr(), err)
	}
	return nil
}

func run(ctx context.Context, server *mdns.Server) error {
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// A server cannot be shut down before it has started.
	select {
	case err := <-ended:
		return ignoreClosed(err)
	case <-started:
	}
	_ = server.Shutdown()
	return ignoreClosed(<-ended)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close closes the sockets of a server that is not running.
func (s *Server) Close() error { return errors.Join(s.packet.Close(), s.stream.Close()) }

func (s *Server) serve(ctx context.Context, w mdns.ResponseWriter, r *mdns.Msg) {
	m := s.respond(ctx, r, addrOf(w.RemoteAddr()))
	size := mdns.MaxMsgSize
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	opt := r.IsEdns0()
	if !tcp {
		size = udpSizeMin
		if opt != nil {
			size = int(min(max(opt.UDPSize(), udpSizeMin), udpSizeMax))
		}
	}
	m.Extra = withoutOPT(m.Extra)
	if opt != nil {
		m.SetEdns0(udpSizeMax, opt.Do())
	}
	m.Truncate(size)
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("a DNS answer was not sent", "client", w.RemoteAddr(), "error", err)
	}
}

// respond makes the answer to any message.
func (s *Server) respond(ctx context.Context, r *mdns.Msg, client netip.Addr) *mdns.Msg {
	if r.Opcode != mdns.OpcodeQuery {
		return new(mdns.Msg).SetRcode(r, mdns.RcodeNotImplemented)
	}
	if len(r.Question) != 1 {
		return new(mdns.Msg).SetRcode(r, mdns.RcodeFormatError)
	}
	q := r.Question[0]
	if q.Qclass != mdns.ClassINET || q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR {
		return new(mdns.Msg).SetRcode(r, mdns.RcodeRefused)
	}
	opt := r.IsEdns0()
	m := s.resolve(ctx, q, client, opt != nil && opt.Do())
	m.Id, m.Response, m.Opcode = r.Id, true, mdns.OpcodeQuery
	m.RecursionDesired, m.RecursionAvailable, m.CheckingDisabled = r.RecursionDesired, true, r.CheckingDisabled
	m.Question = r.Question
	restoreCase(m.Answer, strings.ToLower(q.Name), q.Name)
	return m
}

// restoreCase gives the records of the name asked for the spelling of the question, which clients may check.
func restoreCase(records []mdns.RR, lower, asked string) {
	for _, rr := range records {
		if h := rr.Header(); lower != asked && h.Name == lower {
			h.Name = asked
		}
	}
}

func (s *Server) resolve(ctx context.Context, q mdns.Question, client netip.Addr, secure bool) *mdns.Msg {
	z := s.zone.Load()
	name := strings.ToLower(q.Name)
	if z.owns(name) {
		r := z.answer(name, q.Qtype)
		if !r.found {
			if m := s.search(ctx, z, name, q.Qtype, client); m != nil {
				return m
			}
		}
		return s.local(ctx, z, name, q.Qtype, r)
	}
	if r := z.pointer(name, q.Qtype); r.found {
		return s.local(ctx, z, name, q.Qtype, r)
	}
	m, err := s.forward.ask(ctx, question{name, q.Qtype, secure})
	if err != nil {
		s.log.Debug("a name did not resolve", "name", name, "error", err)
		return &mdns.Msg{MsgHdr: mdns.MsgHdr{Rcode: mdns.RcodeServerFailure}}
	}
	return m
}

// local makes an answer of what the zone knows. An external name is followed, so that a stub resolver gets addresses.
func (s *Server) local(ctx context.Context, z *zone, name string, kind uint16, r reply) *mdns.Msg {
	m := &mdns.Msg{MsgHdr: mdns.MsgHdr{Authoritative: true}, Answer: r.answer, Extra: r.extra}
	if !r.found {
		m.Rcode = mdns.RcodeNameError
	}
	if r.alias != "" && kind != mdns.TypeCNAME {
		m.Answer = append(m.Answer, s.follow(ctx, z, strings.ToLower(r.alias), kind)...)
		return m
	}
	if len(m.Answer) == 0 {
		m.Ns = []mdns.RR{z.soa()}
	}
	return m
}

// follow resolves the target of an external name. One that points into the cluster again is followed no further.
func (s *Server) follow(ctx context.Context, z *zone, target string, kind uint16) []mdns.RR {
	if z.owns(target) {
		return z.answer(target, kind).answer
	}
	m, err := s.forward.ask(ctx, question{name: target, kind: kind})
	if err != nil {
		return nil
	}
	return m.Answer
}

func withoutOPT(extra []mdns.RR) (out []mdns.RR) {
	for _, rr := range extra {
		if rr.Header().Rrtype != mdns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
