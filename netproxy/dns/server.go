package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	mdns "github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/internal/processors"
	"github.com/peapod-sh/peapod/netproxy"
)

// Config of a server.
type Config struct {
	Addr netip.AddrPort // to listen on by UDP and TCP; it need not be local yet
	// Second, if it is valid, is one more such address.
	Second netip.AddrPort
	// Resolv is the file with the node's own resolvers and search list; "/etc/resolv.conf" by default.
	Resolv string
	// Upstreams answer what is not the cluster's; nil means those of Resolv, empty means none.
	Upstreams []netip.AddrPort
	Stubs     Stubs  // resolvers of their own for some domains
	Domain    string // of the cluster, for tables that name none; "cluster.local" by default
	Logger    hclog.Logger
}

// Server answers on one address, or one of each family.
type Server struct {
	log      hclog.Logger
	domain   string
	searches []string // of the node, where pods' search lists end
	zone     atomic.Pointer[zone]
	clients  atomic.Pointer[map[netip.Addr]string] // the namespaces of pods whose search list is walked
	forward  *forwarder
	loops    []*loop
	streams  []net.Listener
	streamed counts
	slots    chan struct{} // one a datagram that waits for an upstream
	waiting  sync.WaitGroup
}

// New opens the sockets, so that questions wait rather than fail until Run.
func New(c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.Resolv == "" {
		c.Resolv = "/etc/resolv.conf"
	}
	upstreams, searches, err := readResolv(c.Resolv)
	if c.Upstreams != nil {
		upstreams = c.Upstreams
	} else if err != nil {
		c.Logger.Warn("only names of the cluster will resolve", "error", err)
	}
	s := &Server{log: c.Logger, domain: c.Domain, searches: searches, slots: make(chan struct{}, waitingMax),
		forward: newForwarder(upstreams, c.Stubs, c.Addr, c.Second)}
	s.Swap(&netproxy.Table{})
	s.SetClients(nil)
	for _, at := range []netip.AddrPort{c.Addr, c.Second} {
		if err := s.listen(at); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *Server) listen(at netip.AddrPort) error {
	if !at.IsValid() {
		return nil
	}
	lc := net.ListenConfig{Control: freebind}
	lc.SetMultipathTCP(false)
	stream, err := lc.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return fmt.Errorf("listening for DNS on tcp %s: %w", at, err)
	}
	s.streams = append(s.streams, netutil.LimitListener(stream, streamsMax))
	// The kernel spreads clients over sockets that share an address.
	lc.Control = shared
	for range min(processors.Own(), loopsMax) {
		// The stream's port, so that port 0 means the same one for both.
		conn, err := lc.ListenPacket(context.Background(), "udp", stream.Addr().String())
		if err != nil {
			return fmt.Errorf("listening for DNS on udp %s: %w", at, err)
		}
		s.loops = append(s.loops, newLoop(s, conn.(*net.UDPConn)))
	}
	return nil
}

func freebind(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	})
}

func shared(network, address string, c syscall.RawConn) error {
	var fault error
	err := c.Control(func(fd uintptr) {
		fault = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		// Who may, passes over the machine's limit. Less is slower under bursts, not wrong.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, readBuffer)
		}
	})
	return errors.Join(err, fault, freebind(network, address, c))
}

// Addr is the first address that the server listens on.
func (s *Server) Addr() netip.AddrPort { return s.streams[0].Addr().(*net.TCPAddr).AddrPort() }

// Swap puts a table in force for the questions that come after it.
func (s *Server) Swap(t *netproxy.Table) { s.zone.Store(newZone(t, s.domain)) }

// SetClients tells the namespaces of the pods that may ask, by their addresses: those whose search list is the usual one,
// of their namespace, the cluster and the node. The map must not change any more.
func (s *Server) SetClients(namespaces map[netip.Addr]string) { s.clients.Store(&namespaces) }

// Run answers until ctx ends, and closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range s.loops {
		group.Go(func() error { return l.run(ctx) })
	}
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) { s.serve(ctx, w, r) })
	for _, l := range s.streams {
		group.Go(func() error {
			return run(ctx, &mdns.Server{Listener: l, Handler: handler, ReadTimeout: idleTCP, WriteTimeout: idleTCP})
		})
	}
	group.Go(func() error { return s.report(ctx) })
	err := group.Wait()
	s.waiting.Wait()
	if err != nil {
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
func (s *Server) Close() error {
	var faults []error
	for _, l := range s.streams {
		faults = append(faults, l.Close())
	}
	for _, l := range s.loops {
		faults = append(faults, l.conn.Close())
	}
	return errors.Join(faults...)
}

// serve answers a question that came by TCP.
func (s *Server) serve(ctx context.Context, w mdns.ResponseWriter, r *mdns.Msg) {
	m, _ := s.respond(s.zone.Load(), r, addrOf(w.RemoteAddr()), s.asking(ctx))
	finish(m, r, mdns.MaxMsgSize)
	s.streamed.add(kindOf(r), m.Rcode)
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("a DNS answer was not sent", "client", w.RemoteAddr(), "error", err)
	}
}

// finish makes an answer fit a message of the size, and adds the EDNS record if the question had one.
func finish(m, r *mdns.Msg, size int) {
	m.Extra = withoutOPT(m.Extra)
	if opt := r.IsEdns0(); opt != nil {
		m.SetEdns0(udpSizeMax, opt.Do())
	}
	m.Truncate(size)
	m.Compress = true
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
	if a, ok := a.(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
