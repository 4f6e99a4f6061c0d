package netproxy

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	client = 0
	server = 1

	readEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | edge
	sideEvents = readEvents | unix.EPOLLOUT
	hangEvents = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	// oddEvents mean that a short read may not be the last: an error is behind it, or it ends at a mark of urgent data.
	oddEvents = unix.EPOLLERR | unix.EPOLLPRI
)

// side is one socket of a connection and the bytes that came from it but did not go out yet.
// At most one of pending and piped is in use at a time, and no byte is read while either is.
type side struct {
	fd      int
	pending []byte
	pipe    *pipe
	piped   int
	large   uint8 // large reads that no small one has made up for
	bulk    bool  // goes by splice
	open    bool  // fd is a live descriptor
	ready   bool  // may have bytes to read
	hung    bool  // an end, an error or a mark is to be read behind the bytes
	last    bool  // nothing but an end is behind them, and all of them have come
	ended   bool  // its end was read
	passed  bool  // and was passed on to the other side
}

// conn is a client connection with the endpoint it is relayed to. It costs two descriptors and
// no goroutine.
type conn struct {
	side     [2]side
	target   *target
	to       *backend
	carried  tally
	tried    []*backend // endpoints that failed a dial of this connection
	next     *conn      // in the loop's list of dials
	prev     *conn
	began    int64 // of the dial, loop clock
	deadline int64 // of the dial, loop clock
	from     netip.Addr
	scope    scope
	dialling bool
	closed   bool
	probed   bool
	spoke    bool // something was sent to the endpoint
	prompt   bool // and TCP_NODELAY is set
	wide     bool // the client's socket is watched for room to send, too
	starved  bool // a dial failed for want of something of this host
}

// accept takes over a client's socket and dials an endpoint for it, if the client may have one.
func (l *loop) accept(ln *listener, fd int, from netip.Addr) {
	if !ln.target.set.Load().allows(ln.key.addr.Addr(), from) {
		ln.target.stats[l.id].errors.Add(1)
		rawAbort(fd)
		rawClose(fd)
		return
	}
	c := &conn{target: ln.target, scope: ln.key.scope, from: from}
	c.side[client] = side{fd: fd, open: true}
	l.conns++
	c.stats(l).connections.Add(1)
	l.bind(fd, c)
	c.dial(l)
}

func (c *conn) stats(l *loop) *counters { return &c.target.stats[l.id] }

// ready handles the events of both sockets.
func (c *conn) ready(l *loop, fd int, events uint32) {
	if c.dialling {
		c.dialled(l, events)
		return
	}
	s := client
	if fd == c.side[server].fd {
		s = server
	}
	if events&(unix.EPOLLIN|hangEvents|oddEvents) != 0 {
		c.side[s].note(events)
		c.move(l, s)
	}
	if other := &c.side[1-s]; !c.closed && events&unix.EPOLLOUT != 0 && (len(other.pending) > 0 || other.piped > 0) {
		c.move(l, 1-s)
	}
}

// note learns from events what is to be read.
func (s *side) note(events uint32) {
	s.ready = true
	s.hung = s.hung || events&(hangEvents|oddEvents) != 0
	s.last = events&unix.EPOLLRDHUP != 0 && events&oddEvents == 0
}

// move relays what side s has, and closes the connection when it is over.
func (c *conn) move(l *loop, s int) {
	ok := c.pump(l, s)
	switch {
	case !ok:
		c.abort(l)
	case c.side[client].passed && c.side[server].passed:
		c.close(l)
	}
}

// probe makes the kernel notice soon when the endpoint's machine is lost.
func (c *conn) probe() {
	c.probed = true
	fd := c.side[server].fd
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, goneIdleSeconds)
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, goneProbeSeconds)
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, goneProbes)
	rawSetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

func (c *conn) shut(l *loop) { c.abort(l) }

// abort ends both sockets with a reset, as an error on one of them would have looked without a proxy.
func (c *conn) abort(l *loop) {
	if c.closed {
		return
	}
	for s := range c.side {
		if c.side[s].open {
			rawAbort(c.side[s].fd)
		}
	}
	c.close(l)
}

func (c *conn) close(l *loop) {
	if c.closed {
		return
	}
	c.closed = true
	if c.dialling {
		l.endDial(c)
	}
	for s := range c.side {
		if c.side[s].open {
			l.closeFd(c.side[s].fd)
			c.side[s].open = false
		}
		l.returnPipe(&c.side[s])
		c.side[s].pending = nil
	}
	if c.to != nil {
		c.carried.settle(c.to)
		c.to.active.Add(-1)
	}
	l.conns--
	c.stats(l).ended.Add(1)
}
