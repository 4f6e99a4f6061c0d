package demo

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// queue is a listener as the kernel keeps it: connections wait until they are accepted, which takes its time on a busy machine, and those
// that wait when it is closed are broken.
type queue struct {
	late   time.Duration
	conns  chan net.Conn
	closed chan struct{}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-time.After(q.late):
	case <-q.closed:
		return nil, net.ErrClosed
	}
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	close(q.closed)
	for len(q.conns) > 0 {
		(<-q.conns).Close()
	}
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// TestDrainServesWhatWaits: connections that had not been accepted at TERM, when nothing had come for long, are served before the end.
func TestDrainServesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{late: lookTime + lookTime/2, conns: make(chan net.Conn, 2), closed: make(chan struct{})}
		w := &web{quiet: true}
		srv := w.server()
		go func() { _ = srv.Serve(q) }() // ends with the drain
		codes := make(chan int, cap(q.conns))
		for range cap(q.conns) {
			here, there := net.Pipe()
			q.conns <- there
			go func() {
				defer here.Close()
				fmt.Fprint(here, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
				r, err := http.ReadResponse(bufio.NewReader(here), nil)
				if err != nil {
					codes <- 0
					return
				}
				codes <- r.StatusCode
			}()
		}
		if code := w.drain(srv, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		for range cap(q.conns) {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("a connection that waited at TERM was given %d", code)
			}
		}
	})
}
