package netproxy

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dial tries endpoints until one answers or may still answer. The client sees a reset when none is left.
func (c *conn) dial(l *loop) {
	for len(c.tried) < attemptsMax {
		now := l.now()
		b := c.target.choose(c.scope, c.from, c.tried, now)
		if b == nil {
			break
		}
		e := c.start(l, b, now)
		if e == 0 {
			return
		}
		if used(e) {
			c.starved = true
			c.tried = append(c.tried, b)
			continue
		}
		c.spoil(l, b, now)
	}
	c.stats(l).errors.Add(1)
	if c.starved {
		c.stats(l).refused.Add(1)
	}
	c.abort(l)
}

// used says whether an error means that something of this host is used up, for which no endpoint is to blame: the ports to dial
// an endpoint from, descriptors, or the kernel's memory.
func used(e syscall.Errno) bool {
	switch e {
	case syscall.EADDRNOTAVAIL, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC:
		return true
	}
	return false
}

// start begins one dial; it may succeed if there is no error.
func (c *conn) start(l *loop, b *backend, now int64) syscall.Errno {
	fd, e := rawSocket(b.sa.family(), unix.SOCK_STREAM)
	if e != 0 {
		return e
	}
	if b.near {
		rawUnpace(fd)
	}
	if e := connect(fd, unix.SOCK_STREAM, b, c.from, c.target.keeps(l.id, c.scope, c.from, b)); e != 0 && e != syscall.EINPROGRESS {
		rawClose(fd)
		return e
	}
	c.side[server] = side{fd: fd, open: true}
	if e := l.watch(fd, c, sideEvents); e != 0 {
		rawClose(fd)
		c.side[server].open = false
		return e
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
	return 0
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
	took := time.Duration(l.now() - c.began)
	c.to.observe(took)
	c.stats(l).latency.observe(took)
	fd := c.side[client].fd
	if c.target.set.Load().header {
		if !introduce(c.side[server].fd, fd) {
			c.abort(l)
			return
		}
		c.spoke = true
	}
	if rawEpollAdd(l.ep, fd, readEvents, l.slots[fd].generation) != 0 {
		c.abort(l)
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLPRI) != 0 {
		c.side[server].note(events)
	}
	c.side[client].ready = true // the request is usually there already
	c.move(l, client)
	if !c.closed && c.side[server].ready {
		c.move(l, server)
	}
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
