package netproxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// step is the outcome of one move of bytes.
type step uint8

const (
	onward step = iota // there may be more to do
	halted             // nothing more until an event
	broken             // the connection is to be closed
)

// pump relays from side s to the other until nothing more can be read or written, or its turn is over.
// It reports false if the connection broke.
func (c *conn) pump(l *loop, s int) bool {
	for budget := pumpBudget; ; {
		out := c.flush(s)
		if out == onward {
			out = c.refill(l, s, &budget)
		}
		if out != onward {
			return out == halted && c.awaitRoom(l, s)
		}
		if budget <= 0 {
			l.again = append(l.again, resume{c, s})
			return true
		}
	}
}

// awaitRoom has the client's socket watched for room to send once there was none; it reports false if that fails. A socket that
// is watched for it from the start is reported at once, which costs each connection a wait.
func (c *conn) awaitRoom(l *loop, s int) bool {
	if from := &c.side[s]; s == client || c.wide || len(from.pending) == 0 && from.piped == 0 {
		return true
	}
	c.wide = true
	fd := c.side[client].fd
	return rawEpollChange(l.ep, fd, sideEvents, l.slots[fd].generation) == 0
}

// flush sends what was read before, then the end if it was read too.
func (c *conn) flush(s int) step {
	from, to := &c.side[s], c.side[1-s].fd
	for from.piped > 0 {
		n, e := rawSplice(from.pipe.r, to, from.piped)
		if e != 0 {
			return stepOf(e)
		}
		from.piped -= n
	}
	if len(from.pending) > 0 {
		n, e := c.send(1-s, from.pending, from.ended)
		if e != 0 {
			return stepOf(e)
		}
		from.pending = from.pending[n:]
		if len(from.pending) > 0 {
			return halted
		}
		from.pending = nil
	}
	if !from.ended {
		return onward
	}
	if !from.passed {
		from.passed = true
		if !c.side[1-s].passed { // else closing both sockets says it
			rawShutdownWrite(to)
		}
	}
	return halted
}

// refill reads from side s, if it may have something: through the loop's buffer, or by splice once
// the direction has shown that it carries bulk.
func (c *conn) refill(l *loop, s int, budget *int) step {
	from := &c.side[s]
	if !from.ready {
		l.returnPipe(from)
		return halted
	}
	if from.bulk && l.lendPipe(from) {
		*budget -= spliceCost
		return c.refillPipe(l, s)
	}
	*budget--
	return c.copyOn(l, s)
}

func (c *conn) refillPipe(l *loop, s int) step {
	from := &c.side[s]
	n, e := rawSplice(from.fd, from.pipe.w, pipeBytes)
	switch {
	case e == syscall.EAGAIN:
		from.ready = false
		return onward
	case e != 0:
		return stepOf(e)
	case n == 0:
		from.ended = true
		return onward
	}
	from.piped = n
	from.noteSize(n)
	c.count(l, s, n)
	return onward
}

// copyOn reads once and sends at once; what the other side does not take is kept.
func (c *conn) copyOn(l *loop, s int) step {
	from := &c.side[s]
	n, e := rawReceive(from.fd, l.buf)
	switch {
	case e == syscall.EAGAIN:
		from.ready = false
		return onward
	case e != 0:
		return stepOf(e)
	case n == 0:
		from.ended = true
		return onward
	}
	c.count(l, s, n)
	from.noteRead(n, len(l.buf))
	sent, e := c.send(1-s, l.buf[:n], from.ended)
	if e != 0 {
		if e != syscall.EAGAIN && e != syscall.EINTR {
			return broken
		}
		sent = 0
	}
	if sent == n {
		return onward
	}
	from.pending = append([]byte(nil), l.buf[sent:n]...)
	if e == syscall.EINTR {
		return onward
	}
	return halted
}

// send sends to a side. The endpoint's socket is told not to wait for acknowledgements only before it is sent to a second time: at
// first there is nothing to wait for, and many connections carry one request. The last bytes wait for the end, which flush sends
// next, so that both leave as one segment.
func (c *conn) send(to int, b []byte, last bool) (int, syscall.Errno) {
	if to == server && !c.prompt {
		if c.spoke {
			c.prompt = true
			rawSetInt(c.side[server].fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		c.spoke = true
	}
	if last {
		return rawSend(c.side[to].fd, b, unix.MSG_MORE)
	}
	return rawSend(c.side[to].fd, b, 0)
}

// noteRead learns from the size of a read. A short one emptied the socket: the read that would say so is spared,
// unless an end is behind it, for which no further edge would come. If nothing else can be, even that is not read.
func (from *side) noteRead(n, size int) {
	from.noteSize(n)
	if n == size {
		return
	}
	from.ready = from.hung
	from.ended = from.last
}

// noteSize learns whether the direction carries bulk. A proxy that keeps up with the sender never finds a buffer's worth, and still
// copies all that passes: so large reads count, full or not, and it takes as many small ones to leave splice as large ones to get there.
func (from *side) noteSize(n int) {
	switch {
	case n < bulkRead && from.large > 0:
		from.large--
	case n >= bulkRead && from.large < spliceAfter:
		from.large++
	}
	from.bulk = from.large == spliceAfter || from.bulk && from.large > 0
}

func (c *conn) count(l *loop, s, n int) {
	c.carried.count(c.to, s == client, n)
	if s == client {
		c.stats(l).bytesIn.Add(uint64(n))
		return
	}
	c.stats(l).bytesOut.Add(uint64(n))
}

func stepOf(e syscall.Errno) step {
	switch e {
	case syscall.EAGAIN:
		return halted
	case syscall.EINTR:
		return onward
	}
	return broken
}

// pipe is a kernel buffer through which bytes pass from socket to socket uncopied.
type pipe struct{ r, w int }

func (p *pipe) close() {
	rawClose(p.r)
	rawClose(p.w)
}

// lendPipe gives a direction a pipe, pooled or new. Without one (too many may be in use, or
// descriptors have run out) it goes on copying.
func (l *loop) lendPipe(from *side) bool {
	if from.pipe != nil {
		return true
	}
	if l.lent >= pipesLent {
		from.large, from.bulk = 0, false
		return false
	}
	if n := len(l.pipes); n > 0 {
		from.pipe, l.pipes = l.pipes[n-1], l.pipes[:n-1]
		l.lent++
		return true
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		from.large, from.bulk = 0, false
		return false
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeBytes) // refused, it is only smaller
	from.pipe = &pipe{fds[0], fds[1]}
	l.lent++
	return true
}

// returnPipe takes the pipe back from a direction that rests. One with bytes left in it cannot be used again.
func (l *loop) returnPipe(from *side) {
	p := from.pipe
	if p == nil {
		return
	}
	from.pipe = nil
	l.lent--
	if from.piped == 0 && len(l.pipes) < pipesPooled {
		l.pipes = append(l.pipes, p)
		return
	}
	from.piped = 0
	p.close()
}
