package netproxy

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// relay holds a loop's UDP sessions. One batch serves them all, since each datagram is sent on before the next are read.
type relay struct {
	sessions map[int]*session // by descriptor
	batch    *batch           // nil until the first datagram
	count    int
	most     int
	swept    int64
}

// session is one client address and port talking to one service address: a socket connected to an endpoint,
// so that answers find their way back.
type session struct {
	ln   *listener
	fd   int
	from sockaddr
	key  netip.AddrPort
	to   *backend
	did  tally
	last int64 // loop clock of the last datagram in either direction

	older, newer *session // in the listener's order of when they were heard of
}

// receive relays what clients sent. Datagrams of one client that follow each other go out in one call.
func (r *relay) receive(l *loop, ln *listener) {
	b := r.buffers()
	if b == nil {
		return
	}
	now := l.now()
	for range receiveTurns {
		n, e := b.receive(ln.fd)
		if e != 0 {
			return
		}
		r.forward(l, ln, b, n, now)
		if n < datagramBatch {
			return
		}
	}
}

func (r *relay) forward(l *loop, ln *listener, b *batch, n int, now int64) {
	for first := 0; first < n; {
		last := first + 1
		for last < n && b.from[last] == b.from[first] {
			last++
		}
		s := r.session(l, ln, &b.from[first], now)
		if s == nil || !s.send(l, b, first, last, now) {
			ln.target.stats[l.id].errors.Add(uint64(last - first))
		}
		first = last
	}
}

// session returns the client's session, or opens one; nil if no endpoint or no room is left.
func (r *relay) session(l *loop, ln *listener, from *sockaddr, now int64) *session {
	key := from.addrPort()
	if s := ln.sessions[key]; s != nil {
		return s
	}
	if !ln.target.set.Load().allows(ln.key.addr.Addr(), key.Addr()) {
		return nil
	}
	to := ln.target.choose(ln.key.scope, key.Addr(), nil, now)
	if to == nil || !r.makeRoom(l, ln) {
		return nil
	}
	fd, e := rawSocket(to.sa.family(), unix.SOCK_DGRAM)
	if e != 0 {
		ln.target.stats[l.id].refused.Add(1)
		return nil
	}
	rawSetInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBufferBytes)
	s := &session{ln: ln, fd: fd, from: *from, key: key, to: to, last: now}
	if connect(fd, unix.SOCK_DGRAM, to, key.Addr(), ln.target.keeps(l.id, ln.key.scope, key.Addr(), to)) != 0 || l.watch(fd, s, unix.EPOLLIN) != 0 {
		rawClose(fd)
		return nil
	}
	r.keep(s)
	to.active.Add(1)
	to.connections.Add(1)
	ln.target.stats[l.id].connections.Add(1)
	return s
}

// makeRoom ends the session that was silent for longest if its listener has its share of them. Most datagrams of clients by the ten
// thousand are questions with one answer, whose sessions are of no more use; and who is still talking is not among the silent.
func (r *relay) makeRoom(l *loop, ln *listener) bool {
	if len(ln.sessions) < crowdShare*(r.most-r.count) {
		return true
	}
	if ln.heard.oldest == nil {
		ln.target.stats[l.id].refused.Add(1)
		return false
	}
	ln.heard.oldest.shut(l)
	ln.target.stats[l.id].displaced.Add(1)
	return true
}

// touch notes that a session was heard of.
func (s *session) touch(now int64) {
	s.last = now
	if s.newer != nil {
		s.ln.heard.remove(s)
		s.ln.heard.add(s)
	}
}

func (r *relay) keep(s *session) {
	if r.sessions == nil {
		r.sessions = map[int]*session{}
	}
	if s.ln.sessions == nil {
		s.ln.sessions = map[netip.AddrPort]*session{}
	}
	r.sessions[s.fd] = s
	s.ln.sessions[s.key] = s
	s.ln.heard.add(s)
	r.count++
}

// send passes a run of the batch to the endpoint. The first answer may be the news that an earlier datagram was refused;
// then the session has ended and the run goes to another endpoint.
func (s *session) send(l *loop, b *batch, first, last int, now int64) bool {
	s.touch(now)
	size, e := b.send(s.fd, first, last, nil)
	if e == syscall.ECONNREFUSED || e == syscall.EHOSTUNREACH || e == syscall.ENETUNREACH {
		ln, from := s.ln, s.from
		s.fail(l, now)
		if s = l.udp.session(l, ln, &from, now); s == nil {
			return false
		}
		size, e = b.send(s.fd, first, last, nil)
	}
	s.did.count(s.to, true, size)
	s.stats(l).bytesIn.Add(uint64(size))
	return e == 0
}

func (s *session) stats(l *loop) *counters { return &s.ln.target.stats[l.id] }

// ready sends the endpoint's answers from the address that the client wrote to.
func (s *session) ready(l *loop, fd int, _ uint32) {
	b := l.udp.buffers()
	if b == nil {
		return
	}
	n, e := b.receive(fd)
	switch {
	case e == syscall.EAGAIN || e == syscall.EINTR:
		return
	case e != 0:
		s.fail(l, l.now())
		return
	}
	s.touch(l.now())
	size, _ := b.send(s.ln.fd, 0, n, &s.from)
	s.did.count(s.to, false, size)
	s.stats(l).bytesOut.Add(uint64(size))
}

// fail ends a session whose endpoint refuses, and has others pass it over for a while.
func (s *session) fail(l *loop, now int64) {
	s.to.avoid.Store(now + int64(avoidTime))
	s.to.failures.Add(1)
	s.stats(l).retries.Add(1)
	s.shut(l)
}

func (s *session) shut(l *loop) {
	if l.udp.sessions[s.fd] != s {
		return
	}
	delete(l.udp.sessions, s.fd)
	delete(s.ln.sessions, s.key)
	s.ln.heard.remove(s)
	l.udp.count--
	l.closeFd(s.fd)
	s.did.settle(s.to)
	s.to.active.Add(-1)
	s.stats(l).ended.Add(1)
}

// forget ends the sessions of a listener that closes.
func (r *relay) forget(l *loop, ln *listener) {
	for _, s := range ln.sessions {
		s.shut(l)
	}
}

// abandon ends the sessions to endpoints that are gone; the client's next datagram opens another.
func (r *relay) abandon(l *loop) {
	for _, s := range r.sessions {
		if s.to.gone.Load() {
			s.shut(l)
		}
	}
}

// sweep ends the sessions that were silent for too long.
func (r *relay) sweep(l *loop, now int64) {
	if now-r.swept < int64(sweepInterval) {
		return
	}
	r.swept = now
	for _, s := range r.sessions {
		if now-s.last >= int64(l.limits.SessionIdle) {
			s.shut(l)
		}
	}
}

func (r *relay) buffers() *batch {
	if r.batch == nil {
		r.batch = newBatch()
	}
	return r.batch
}

func (r *relay) release() {
	if r.batch != nil {
		r.batch.release()
		r.batch = nil
	}
}
