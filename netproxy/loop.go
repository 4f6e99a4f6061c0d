package netproxy

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const edge = 1 << 31 // EPOLLET, which x/sys holds as a negative number

// handler is what a descriptor of a loop belongs to. ready runs on the loop's goroutine.
type handler interface {
	ready(l *loop, fd int, events uint32)
	shut(l *loop)
}

// slot binds a descriptor's number to its handler. The generation tells an event of this use of the number
// from a late one of the use before.
type slot struct {
	h          handler
	generation uint32
}

// loop is one goroutine with its own epoll. Everything without a lock belongs to that goroutine, or to Swap while
// it is not running.
type loop struct {
	id     int
	ep     int
	waker  int // eventfd
	spare  int // given up to accept and reset a connection when descriptors run out
	limits Limits
	slots  []slot
	events []unix.EpollEvent
	buf    []byte
	pipes  []*pipe
	lent   int // pipes that are in use
	again  []resume
	dials  dialList
	scan   int64 // loop clock of the last look at the dials
	conns  int
	most   int   // of conns
	batch  int   // events of the present wait
	busy   bool  // events follow each other closely
	turns  uint  // of run
	rested int64 // loop clock of the last yield
	start  time.Time
	stop   bool
	udp    relay

	mu      sync.Mutex
	changes []*change // guarded by mu
}

// resume is a direction whose turn ended before its data did.
type resume struct {
	c    *conn
	from int
}

// change is what Swap asks of a loop; done is called when the loop has it behind it.
type change struct {
	add, remove []*listener
	lost        bool // endpoints or their machines are gone: see abandon
	stop        bool
	done        func()
}

func newLoop(id, loops int, limits Limits, start time.Time) (*loop, error) {
	l := &loop{
		id: id, limits: limits, most: (limits.Connections + loops - 1) / loops, start: start,
		events: make([]unix.EpollEvent, eventsPerWait), buf: make([]byte, bufferBytes), ep: -1, waker: -1, spare: -1,
	}
	l.udp.most = (limits.Sessions + loops - 1) / loops
	var err error
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	if l.waker, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		l.release()
		return nil, fmt.Errorf("creating eventfd: %w", err)
	}
	if l.spare, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		l.release()
		return nil, fmt.Errorf("creating eventfd: %w", err)
	}
	if e := l.watch(l.waker, wake{}, unix.EPOLLIN); e != 0 {
		l.release()
		return nil, fmt.Errorf("watching eventfd: %w", e)
	}
	return l, nil
}

// now is the loop clock: nanoseconds since the proxy was made.
func (l *loop) now() int64 { return int64(time.Since(l.start)) }

// watch gives a descriptor to a handler and to epoll.
func (l *loop) watch(fd int, h handler, events uint32) syscall.Errno {
	l.bind(fd, h)
	e := rawEpollAdd(l.ep, fd, events, l.slots[fd].generation)
	if e != 0 {
		l.slots[fd].h = nil
	}
	return e
}

// bind gives a descriptor to a handler without asking for events yet.
func (l *loop) bind(fd int, h handler) {
	if fd >= len(l.slots) {
		l.slots = append(l.slots, make([]slot, max(fd+64, 2*len(l.slots))-len(l.slots))...)
	}
	l.slots[fd].h = h
	l.slots[fd].generation++
}

// closeFd forgets and closes a descriptor.
func (l *loop) closeFd(fd int) {
	l.slots[fd].h = nil
	rawClose(fd)
}

// run keeps to one thread: between threads, which Go's scheduler would change often, everything that the loop reads is cold, and a thread
// just woken waits for a processor while connections wait for it.
func (l *loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for !l.stop {
		l.yield()
		l.batch = l.wait()
		for _, ev := range l.events[:l.batch] {
			if s := l.slots[ev.Fd]; s.h != nil && s.generation == uint32(ev.Pad) {
				s.h.ready(l, int(ev.Fd), ev.Events)
			}
		}
		l.resume()
		l.tick()
	}
}

// yield passes through Go's scheduler now and then. A goroutine that did not for 10 ms has its processor taken away in each
// system call that waits, by a monitor thread that runs every 20 us from then on: a seventh of all processor time.
func (l *loop) yield() {
	if l.turns++; l.turns%yieldTurns != 0 {
		return
	}
	if now := l.now(); now-l.rested > int64(yieldInterval) {
		l.rested = now
		runtime.Gosched()
	}
}

// wait returns the number of events. While they follow each other closely Go's scheduler is not told of waits: that costs more than
// many of them last, and its monitor thread would look after each. Whoever stops the world, or finds that the loop has held its
// processor of Go's for long, sends a signal, which ends such a wait as it would a computation. After that, or after a long wait, it is told of the next.
func (l *loop) wait() int {
	if len(l.again) > 0 {
		return l.look(0)
	}
	began := l.now()
	if l.busy {
		n := l.look(untoldWait)
		l.busy = n > 0 && l.now()-began < int64(slackWait)
		return n
	}
	n, _, e := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])),
		eventsPerWait, uintptr(l.timeout()), 0, 0)
	l.busy = l.now()-began < int64(briskWait)
	return counted(n, e)
}

// look is a wait that Go's scheduler is not told of.
func (l *loop) look(most time.Duration) int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])),
		eventsPerWait, uintptr(most/time.Millisecond), 0, 0)
	return counted(n, e)
}

// counted is what a wait returned; an error is that of a signal, and the next wait goes on.
func counted(n uintptr, e syscall.Errno) int {
	if e != 0 {
		return 0
	}
	return int(n)
}

// timeout is in milliseconds; -1 is for ever. An idle loop has no reason to wake.
func (l *loop) timeout() int {
	switch {
	case l.dials.first != nil:
		return int(scanInterval / time.Millisecond)
	case l.udp.count > 0:
		return int(sweepInterval / time.Millisecond)
	}
	return -1
}

// resume gives the connections that used up their turn another.
func (l *loop) resume() {
	turn := l.again
	l.again = nil
	for _, r := range turn {
		if !r.c.closed {
			r.c.move(l, r.from)
		}
	}
}

func (l *loop) tick() {
	if l.dials.first == nil && l.udp.count == 0 {
		return
	}
	now := l.now()
	if l.dials.first != nil && now-l.scan >= int64(scanInterval) {
		l.scan = now
		l.dials.each(func(c *conn) {
			if c.deadline <= now {
				c.failDial(l, true)
			}
		})
	}
	l.udp.sweep(l, now)
}

// post hands a change to a running loop.
func (l *loop) post(c *change) {
	l.mu.Lock()
	l.changes = append(l.changes, c)
	l.mu.Unlock()
	one := [8]byte{0: 1}
	_, _ = unix.Write(l.waker, one[:]) // fails only when it is full, and then it wakes anyway
}

// wake is the handler of the eventfd.
type wake struct{}

func (wake) shut(*loop) {}

func (wake) ready(l *loop, fd int, _ uint32) {
	var count [8]byte
	_, _ = rawRead(fd, count[:])
	l.mu.Lock()
	changes := l.changes
	l.changes = nil
	l.mu.Unlock()
	for _, c := range changes {
		l.apply(c)
		c.done()
	}
}

// apply makes a change real. When it returns, this loop has nothing on its way to an endpoint that is gone.
func (l *loop) apply(c *change) {
	for _, ln := range c.remove {
		ln.close(l)
	}
	for _, ln := range c.add {
		ln.open(l)
	}
	if c.lost {
		l.abandon()
	}
	l.stop = l.stop || c.stop
}

// abandon redirects the dials to endpoints that are gone, forgets the sessions to them, and has the kernel probe the
// connections to them that live on, lest one whose machine is lost unseen stays for ever. Those of machines that are known to be lost end.
func (l *loop) abandon() {
	l.dials.each(func(c *conn) {
		if c.to.gone.Load() || c.target.gate.isLost(c.to) {
			c.failDial(l, !c.to.gone.Load())
		}
	})
	l.udp.abandon(l)
	for fd := range l.slots {
		if c, ok := l.slots[fd].h.(*conn); ok && fd == c.side[server].fd && !c.dialling {
			c.leave(l)
		}
	}
}

// leave ends a connection whose machine is lost, and has that of an endpoint which is merely gone probed.
func (c *conn) leave(l *loop) {
	switch {
	case c.target.gate.isLost(c.to):
		c.stats(l).errors.Add(1)
		c.abort(l)
	case c.to.gone.Load() && !c.probed:
		c.probe()
	}
}

// release closes everything that the loop holds. The goroutine has ended or never ran.
func (l *loop) release() {
	for fd := range l.slots {
		if h := l.slots[fd].h; h != nil {
			h.shut(l)
		}
	}
	for _, p := range l.pipes {
		p.close()
	}
	l.pipes = nil
	l.udp.release()
	for _, fd := range []int{l.waker, l.spare, l.ep} {
		if fd >= 0 {
			rawClose(fd)
		}
	}
	l.waker, l.spare, l.ep = -1, -1, -1
}
