package ends

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Watcher hears of the ends of processes: one goroutine and one epoll for all their pidfds.
type Watcher struct {
	epoll, wake int
	ended       func(key string) // called from the watcher's goroutine
	done        chan struct{}

	mu     sync.Mutex
	keys   map[int32]string // pidfd -> what it belongs to
	closed bool
}

// NewWatcher starts hearing; ended is called once for each watched process.
func NewWatcher(ended func(string)) (*Watcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	w := &Watcher{epoll: epoll, wake: wake, ended: ended, done: make(chan struct{}), keys: map[int32]string{}}
	if err := w.add(wake); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	go w.run() // ends by Close, which waits
	return w, nil
}

func (w *Watcher) add(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching a process: %w", err)
	}
	return nil
}

// Watch reports key once when the process behind pidfd has ended. The pidfd stays the caller's.
func (w *Watcher) Watch(pidfd int, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[int32(pidfd)] = key
	if err := w.add(pidfd); err != nil {
		delete(w.keys, int32(pidfd))
		return err
	}
	return nil
}

// Forget stops watching pidfd; false if it was not watched any more.
func (w *Watcher) Forget(pidfd int32) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, ok := w.keys[pidfd]
	delete(w.keys, pidfd)
	if ok {
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(pidfd), nil)
	}
	return key, ok
}

func (w *Watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			if int(ev.Fd) == w.wake {
				return
			}
			if key, ok := w.Forget(ev.Fd); ok {
				w.ended(key)
			}
		}
	}
}

// Close ends the hearing; a call of ended that has begun is waited for.
func (w *Watcher) Close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return nil
	}
	if _, err := unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("ending the watcher: %w", err)
	}
	<-w.done
	unix.Close(w.epoll)
	unix.Close(w.wake)
	return nil
}
