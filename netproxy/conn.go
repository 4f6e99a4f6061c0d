package netproxy

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	client = 0
	server = 1

	sideEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | edge
	hangEvents = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// side is one socket of a connection and the bytes that came from it but did not go out yet.
// At most one of pending and piped is in use at a time, and no byte is read while either is.
type side struct {
	fd      int
	pending []byte
	pipe    *pipe
	piped   int
	full    uint8 // full buffers in a row
	open    bool  // fd is a live descriptor
	ready   bool  // may have bytes to read
	hung    bool  // an end or an error is to be read behind the bytes
	ended   bool  // its end was read
	passed  bool  // and was passed on to the other side
}

// conn is a client connection with the endpoint it is relayed to. It costs two descriptors and
// no goroutine.
type conn struct {
	side     [2]side
	target   *target
	to       *backend
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

// dial tries endpoints until one answers or may still answer. The client sees a reset when none is left.
func (c *conn) dial(l *loop) {
	for len(c.tried) < attemptsMax {
		now := l.now()
		b := c.target.choose(c.scope, c.from, c.tried, now)
		if b == nil {
			break
		}
		if c.start(l, b, now) {
			return
		}
		c.spoil(l, b, now)
	}
	c.stats(l).errors.Add(1)
	c.abort(l)
}

// start begins one dial and reports whether it may succeed.
func (c *conn) start(l *loop, b *backend, now int64) bool {
	fd, e := rawSocket(b.sa.family(), unix.SOCK_STREAM)
	if e != 0 {
		return false
	}
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if e := connect(fd, unix.SOCK_STREAM, b, c.from, c.target.set.Load().keep[c.scope]); e != 0 && e != syscall.EINPROGRESS {
		rawClose(fd)
		return false
	}
	c.side[server] = side{fd: fd, open: true}
	if l.watch(fd, c, sideEvents) != nil {
		rawClose(fd)
		return false
	}
	b.active.Add(1)
	c.to = b
	c.dialling = true
	c.began = now
	c.deadline = now + int64(l.limits.ConnectTimeout)
	if len(c.tried)+1 >= min(attemptsMax, len(c.target.set.Load().by[c.scope])) {
		c.deadline = now + int64(l.limits.ConnectPatience)
	}
	l.dials.push(c)
	return true
}

// spoil notes that an endpoint failed, for this connection and for a while for all.
func (c *conn) spoil(l *loop, b *backend, now int64) {
	c.tried = append(c.tried, b)
	b.avoid.Store(now + int64(avoidTime))
	b.failures.Add(1)
	c.stats(l).retries.Add(1)
}

// failDial gives the dial up and tries another endpoint. An endpoint that is merely gone is not to blame.
func (c *conn) failDial(l *loop, blame bool) {
	l.endDial(c)
	b := c.to
	l.closeFd(c.side[server].fd)
	c.side[server].open = false
	b.active.Add(-1)
	c.to = nil
	if blame {
		c.spoil(l, b, l.now())
	}
	c.dial(l)
}

func (l *loop) endDial(c *conn) {
	c.dialling = false
	l.dials.remove(c)
}

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
	if events&(unix.EPOLLIN|hangEvents) != 0 {
		c.side[s].ready = true
		c.side[s].hung = c.side[s].hung || events&hangEvents != 0
		c.move(l, s)
	}
	if other := &c.side[1-s]; !c.closed && events&unix.EPOLLOUT != 0 && (len(other.pending) > 0 || other.piped > 0) {
		c.move(l, 1-s)
	}
}

// dialled handles the events of the endpoint's socket until it is connected. The client's socket is not watched
// before, so that what it sends waits in the kernel and may go to any endpoint.
func (c *conn) dialled(l *loop, events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.failDial(l, true)
		return
	}
	if events&unix.EPOLLOUT == 0 {
		return
	}
	l.endDial(c)
	c.tried = nil
	c.to.connections.Add(1)
	c.stats(l).latency.observe(time.Duration(l.now() - c.began))
	fd := c.side[client].fd
	if c.target.set.Load().header && !introduce(c.side[server].fd, fd) {
		c.abort(l)
		return
	}
	if rawEpollAdd(l.ep, fd, sideEvents, l.slots[fd].generation) != 0 {
		c.abort(l)
		return
	}
	c.side[server].ready = events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0
	c.side[server].hung = events&unix.EPOLLRDHUP != 0
	c.side[client].ready = true // the request is usually there already
	c.move(l, client)
	if !c.closed && c.side[server].ready {
		c.move(l, server)
	}
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
		c.to.active.Add(-1)
	}
	l.conns--
	c.stats(l).ended.Add(1)
}

// dialList holds the connections that are not connected to an endpoint yet.
type dialList struct{ first *conn }

func (d *dialList) push(c *conn) {
	c.prev, c.next = nil, d.first
	if d.first != nil {
		d.first.prev = c
	}
	d.first = c
}

func (d *dialList) remove(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		d.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// each calls f for the connections of the list; f may remove the one it is called with and push it anew.
func (d *dialList) each(f func(*conn)) {
	for c := d.first; c != nil; {
		next := c.next
		f(c)
		c = next
	}
}
