package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ports of the backend, and of every path to it.
const (
	echoPort     = 8080 // answers each request of requestBytes with answerBytes
	oncePort     = 8081 // the same, and ends the connection
	bulkPort     = 8082 // sends until the client has enough
	datagramPort = 8083 // sends datagrams back
	idlePort     = 8084 // accepts
)

const (
	requestBytes = 100
	answerBytes  = 300
	bulkBytes    = 256 << 10
)

// backend serves all ports at so many addresses, each by a thread of its own, until its input ends.
func backend(addresses int) error {
	runtime.GOMAXPROCS(8 + addresses)
	for port, serve := range map[int]func(fd int){
		echoPort: func(fd int) { answer(fd, false) }, oncePort: func(fd int) { answer(fd, true) }, bulkPort: pour, idlePort: hold,
	} {
		fd, err := listening(port)
		if err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
		go onThread(func() { serve(fd) })
	}
	// Answers come from the address asked only if a socket is bound to it.
	for i := range addresses {
		fd, err := datagramSocket()
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: datagramPort, Addr: backendAddr(i + 1).As4()}); err != nil {
			return err
		}
		go onThread(func() { reflect(fd) })
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

func onThread(f func()) {
	runtime.LockOSThread()
	f()
}

func accepted(listener int) int {
	fd, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1
	}
	return int(fd)
}

// answer serves requests, one connection or all with one epoll.
func answer(listener int, once bool) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil || rawWatch(ep, listener, unix.EPOLLIN) != nil {
		return
	}
	events, in, out := make([]unix.EpollEvent, 256), make([]byte, 64<<10), make([]byte, answerBytes)
	for {
		for _, ev := range events[:rawWait(ep, events, -1)] {
			fd := int(ev.Fd)
			if fd == listener {
				for c := accepted(listener); c >= 0; c = accepted(listener) {
					_ = rawWatch(ep, c, unix.EPOLLIN)
				}
				continue
			}
			n, e := rawRead(fd, in)
			if e == syscall.EAGAIN {
				continue
			}
			if n > 0 && e == 0 {
				_, _ = rawSend(fd, out)
			}
			if n <= 0 || e != 0 || once {
				rawClose(fd)
			}
		}
	}
}

// pour sends to one client at a time.
func pour(listener int) {
	_ = unix.SetNonblock(listener, false)
	block := make([]byte, bulkBytes)
	for {
		fd := accepted(listener)
		if fd < 0 {
			continue
		}
		_ = unix.SetNonblock(fd, false)
		for {
			if _, e := rawSend(fd, block); e != 0 {
				break
			}
		}
		rawClose(fd)
	}
}

// hold keeps connections until the other side ends them.
func hold(listener int) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil || rawWatch(ep, listener, unix.EPOLLIN) != nil {
		return
	}
	events := make([]unix.EpollEvent, 256)
	for {
		for _, ev := range events[:rawWait(ep, events, -1)] {
			if int(ev.Fd) != listener {
				rawClose(int(ev.Fd))
				continue
			}
			for c := accepted(listener); c >= 0; c = accepted(listener) {
				_ = rawWatch(ep, c, unix.EPOLLRDHUP)
			}
		}
	}
}

// reflect sends datagrams back to where they came from.
func reflect(fd int) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil || rawWatch(ep, fd, unix.EPOLLIN) != nil {
		return
	}
	events, m := make([]unix.EpollEvent, 1), newMail()
	for {
		n := m.receive(fd, true)
		if n == 0 {
			rawWait(ep, events, -1)
			continue
		}
		m.send(fd, n)
	}
}
