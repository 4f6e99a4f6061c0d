package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// order is what a client is to do.
type order struct {
	Kind   string // requests, connects, bulk, datagrams, idle
	To     netip.AddrPort
	Conns  int // connections, or flows of datagrams, at a time
	Window int // datagrams on their way in a flow
	Size   int // of a datagram, bytes
	For    time.Duration
}

// result is what a client has done.
type result struct {
	Ops      float64 // requests, connections, datagrams, or bytes
	Seconds  float64
	CPU      float64 // processor seconds of the client
	P50, P99 float64 // of an answer, microseconds
	Failed   int     // connections that failed, or windows of datagrams that were lost
}

func (r result) rate() float64 { return r.Ops / r.Seconds }

// load does what was ordered, without what it takes to prepare it.
func load(o order) (result, error) {
	prepared := map[string]func(order) (func(until time.Time) result, error){
		"requests": prepareRequests, "connects": prepareConnects, "bulk": prepareBulk, "datagrams": prepareDatagrams,
	}[o.Kind]
	if prepared == nil {
		return result{}, fmt.Errorf("no load of kind %q", o.Kind)
	}
	run, err := prepared(o)
	if err != nil {
		return result{}, err
	}
	begun, cpu := time.Now(), processorTime(0)
	r := run(begun.Add(o.For))
	r.Seconds, r.CPU = time.Since(begun).Seconds(), processorTime(0)-cpu
	return r, nil
}

// latencies of answers in nanoseconds, as many as there is room for.
type latencies []int32

func (l latencies) into(r *result) {
	if len(l) == 0 {
		return
	}
	slices.Sort(l)
	r.P50, r.P99 = float64(l[len(l)/2])/1e3, float64(l[len(l)*99/100])/1e3
}

// prepareRequests opens connections, each of which asks again as soon as it has its answer.
func prepareRequests(o order) (func(time.Time) result, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	var fds []int
	for range o.Conns {
		fd, err := dialled(o.To)
		if err != nil {
			return nil, err
		}
		if err := rawWatch(ep, fd, unix.EPOLLIN); err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	sent, got := make([]time.Time, slices.Max(fds)+1), make([]int, slices.Max(fds)+1)
	return func(until time.Time) (r result) {
		took := make(latencies, 0, 4<<20)
		ask, in, events := make([]byte, requestBytes), make([]byte, 64<<10), make([]unix.EpollEvent, 256)
		for _, fd := range fds {
			sent[fd] = time.Now()
			_, _ = rawSend(fd, ask)
		}
		for now := time.Now(); now.Before(until); {
			n := rawWait(ep, events, 100)
			now = time.Now()
			for _, ev := range events[:n] {
				fd := int(ev.Fd)
				size, e := rawRead(fd, in)
				if e == syscall.EAGAIN {
					continue
				}
				if size <= 0 || e != 0 {
					r.Failed++
					rawClose(fd)
					continue
				}
				if got[fd] += size; got[fd] < answerBytes {
					continue
				}
				got[fd] = 0
				r.Ops++
				if len(took) < cap(took) {
					took = append(took, int32(now.Sub(sent[fd])))
				}
				sent[fd] = now
				_, _ = rawSend(fd, ask)
			}
		}
		took.into(&r)
		return r
	}, nil
}

// prepareConnects makes a connection for each request, some at a time. The backend ends them, so that no port of the client
// is kept in TIME_WAIT.
func prepareConnects(o order) (func(time.Time) result, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return func(until time.Time) (r result) {
		const most = 1 << 16
		ask, in, events := make([]byte, requestBytes), make([]byte, 64<<10), make([]unix.EpollEvent, 256)
		var asked [most]bool
		to := sockaddr(o.To)
		open := func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil || fd >= most {
				r.Failed++
				return
			}
			asked[fd] = false
			if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
				r.Failed++
				rawClose(fd)
				return
			}
			_ = rawWatch(ep, fd, unix.EPOLLIN|unix.EPOLLOUT|edge)
		}
		for range o.Conns {
			open()
		}
		for time.Now().Before(until) {
			for _, ev := range events[:rawWait(ep, events, 100)] {
				fd := int(ev.Fd)
				if !asked[fd] && ev.Events&unix.EPOLLOUT != 0 {
					asked[fd] = true
					_, _ = rawSend(fd, ask)
				}
				if ev.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
					continue
				}
				n, e := rawRead(fd, in)
				for n > 0 && e == 0 {
					n, e = rawRead(fd, in)
				}
				switch e {
				case syscall.EAGAIN:
					continue
				case 0:
					r.Ops++
				default:
					r.Failed++
				}
				rawClose(fd)
				open()
			}
		}
		return r
	}, nil
}

func prepareBulk(o order) (func(time.Time) result, error) {
	fd, err := dialled(o.To)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, err
	}
	return func(until time.Time) (r result) {
		in := make([]byte, bulkBytes)
		for time.Now().Before(until) {
			n, e := rawRead(fd, in)
			if n <= 0 || e != 0 {
				r.Failed++
				break
			}
			r.Ops += float64(n)
		}
		rawClose(fd)
		return r
	}, nil
}

// prepareDatagrams keeps a window of datagrams on its way in each flow. One that is silent for a while has lost its window.
func prepareDatagrams(o order) (func(time.Time) result, error) {
	const silence = 50 * time.Millisecond
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	var fds []int
	for range o.Conns {
		fd, err := datagramSocket()
		if err != nil {
			return nil, err
		}
		if err := errors.Join(unix.Connect(fd, sockaddr(o.To)), rawWatch(ep, fd, unix.EPOLLIN)); err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	heard := make([]time.Time, slices.Max(fds)+1)
	return func(until time.Time) (r result) {
		in, out, events := newMail(), newMail(), make([]unix.EpollEvent, 256)
		for i := range out.vectors {
			out.vectors[i].Len = uint64(o.Size)
		}
		send := func(fd, n int) {
			for ; n > 0; n -= datagrams {
				out.send(fd, min(n, datagrams))
			}
		}
		for _, fd := range fds {
			heard[fd] = time.Now()
			send(fd, o.Window)
		}
		looked := time.Now()
		for now := looked; now.Before(until); {
			n := rawWait(ep, events, 20)
			now = time.Now()
			for _, ev := range events[:n] {
				got := in.receive(int(ev.Fd), false)
				r.Ops += float64(got)
				heard[ev.Fd] = now
				send(int(ev.Fd), got)
			}
			if now.Sub(looked) < silence {
				continue
			}
			looked = now
			for _, fd := range fds {
				if now.Sub(heard[fd]) >= silence {
					r.Failed++
					heard[fd] = now
					send(fd, o.Window)
				}
			}
		}
		return r
	}, nil
}
