package netproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/peapod-sh/peapod/internal/processors"
	"golang.org/x/sys/unix"
)

// ErrClosed is returned by Run of a proxy that was closed or has run before.
var ErrClosed = errors.New("the proxy is closed or already running")

// Config of a proxy. All its sockets and its route are made in the network namespace of the process.
type Config struct {
	Logger hclog.Logger
	// ServiceCIDR is the range of virtual addresses, made local by a route. Without one, no route is made and
	// the addresses of services must be local already.
	ServiceCIDR netip.Prefix
	// ServiceCIDR6 is the same of the other family, in clusters that have both; the node reaches its addresses from themselves.
	ServiceCIDR6 netip.Prefix
	// SourceAddress is the node's own address, from which it reaches virtual addresses itself. It must be assigned.
	SourceAddress netip.Addr
	// Reserved are addresses of services that something else on this host answers at, such as the cluster's DNS; nothing listens there. A second
	// socket at one of them would take part of its datagrams away.
	Reserved []netip.AddrPort
	Limits   Limits
	// Loops is the number of threads; zero is one a processor. The process gets as many processors of Go's (GOMAXPROCS) more, if it
	// has not, so that nothing else in it waits for a loop.
	Loops int
}

// Proxy relays the traffic of services.
type Proxy struct {
	log        hclog.Logger
	route      *anyIP
	route6     *anyIP
	outside    outside
	loops      []*loop
	generation atomic.Uint64

	mu      sync.Mutex
	state   state              // guarded by mu
	running bool               // guarded by mu
	closed  bool               // guarded by mu
	cancel  context.CancelFunc // guarded by mu; ends Run
	ended   chan struct{}      // guarded by mu; closed by Run
	retired []*target          // guarded by mu; dropped ports with connections left
	past    Counters           // guarded by mu; of dropped ports without
}

// New makes the service range local and prepares the loops. Listeners may be opened by Swap before
// Run, so that no client is refused while a process starts.
func New(c Config) (*Proxy, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("reading the limit of open files: %w", err)
	}
	limits := c.Limits.withDefaults(files.Cur)
	n := c.Loops
	if n <= 0 {
		n = min(processors.Own(), loopsMax)
	}
	// A loop keeps its processor of Go's while it is busy, even while it waits in the kernel, so what else the process does needs its own.
	processors.Spare(n)
	p := &Proxy{log: c.Logger}
	p.state.services = map[serviceName]*serviceState{}
	p.state.reserved = c.Reserved
	p.state.groups = map[listenKey][]*listener{}
	p.state.ample = int(min(files.Cur, 1<<30) / ampleShare)
	start := time.Now()
	for i := range n {
		l, err := newLoop(i, n, limits, start)
		if err != nil {
			p.releaseLoops()
			return nil, fmt.Errorf("starting the service proxy: %w", err)
		}
		p.loops = append(p.loops, l)
	}
	var route *anyIP
	err := reclaim()
	if err == nil {
		route, err = addAnyIP(c.ServiceCIDR, c.SourceAddress)
	}
	if err != nil {
		p.releaseLoops()
		return nil, err
	}
	p.route, p.outside = route, outside{[]netip.Prefix{c.ServiceCIDR, c.ServiceCIDR6}, c.SourceAddress, map[netip.Addr]*anyIP{}}
	if p.route6, err = addAnyIP(c.ServiceCIDR6, netip.Addr{}); err != nil {
		p.releaseLoops()
		return nil, errors.Join(err, route.remove())
	}
	return p, nil
}

// Run carries traffic until ctx ends; then every connection and listener is closed. It runs once.
func (p *Proxy) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.closed || p.running {
		p.mu.Unlock()
		return ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.cancel, p.ended, p.running = cancel, make(chan struct{}), true
	defer close(p.ended)
	var loops sync.WaitGroup
	for _, l := range p.loops {
		loops.Go(l.run)
	}
	p.mu.Unlock()

	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.closed = false, true
	barrier(p.loops, true, func(int) *change { return &change{stop: true} })
	loops.Wait()
	p.releaseLoops()
	return nil
}

// Swap puts a table in force. When it returns no new connection, and no dial still under way, goes to an endpoint that
// the table does not allow. An address that cannot be listened on is logged and tried again by the next Swap.
func (p *Proxy) Swap(t *Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, err := range p.outside.follow(t) {
		p.log.Warn("a service address cannot be made local", "error", err)
	}
	p.state.gate.set(t)
	more := p.state.gate.lose(t.Lost)
	u := p.state.diff(t, len(p.loops))
	add, failed := p.state.open(u.want, len(p.loops))
	barrier(p.loops, p.running, func(id int) *change {
		return &change{add: column(add, id), remove: column(u.remove, id), lost: u.lost || more}
	})
	p.retire(u.dropped)
	p.generation.Store(t.Generation)
	for _, err := range failed {
		p.log.Warn("a service address is not served", "error", err)
	}
}

func column(groups [][]*listener, id int) []*listener {
	out := make([]*listener, 0, len(groups))
	for _, g := range groups {
		if g[id] != nil {
			out = append(out, g[id])
		}
	}
	return out
}

// Generation is that of the table in force.
func (p *Proxy) Generation() uint64 { return p.generation.Load() }

// Close ends Run if it is running, closes every socket, and removes the routes that the proxy added.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.running {
		cancel, ended := p.cancel, p.ended
		p.mu.Unlock()
		cancel()
		<-ended
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.releaseLoops()
	}
	route, route6 := p.route, p.route6
	p.route, p.route6 = nil, nil
	return errors.Join(route.remove(), route6.remove(), p.outside.clear())
}

func (p *Proxy) releaseLoops() {
	for _, l := range p.loops {
		l.release()
	}
}

// Counters returns the counters of every port in the table, and of dropped ones with connections left.
func (p *Proxy) Counters() map[TargetName]Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[TargetName]Counters{}
	for _, st := range p.state.services {
		for name, port := range st.ports {
			out[name] = port.target.counters()
		}
	}
	for _, t := range p.retired {
		if _, again := out[t.name]; !again {
			out[t.name] = t.counters()
		}
	}
	return out
}

// Totals sums the counters of all ports that ever were.
func (p *Proxy) Totals() (sum Counters) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum = p.past
	for _, st := range p.state.services {
		for _, port := range st.ports {
			sum.addAll(port.target)
		}
	}
	for _, t := range p.retired {
		sum.addAll(t)
	}
	return sum
}

func (c *Counters) addAll(t *target) {
	for i := range t.stats {
		c.add(&t.stats[i])
	}
}

// retire keeps dropped ports until their last connection has ended. It is called with mu held.
func (p *Proxy) retire(dropped []*target) {
	left := p.retired[:0:0]
	for _, t := range append(p.retired, dropped...) {
		if t.counters().Active > 0 {
			left = append(left, t)
			continue
		}
		p.past.addAll(t)
	}
	p.retired = left
}
