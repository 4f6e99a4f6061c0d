package droptest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a request may take on a busy machine: it is lost only if nobody answers it.
const patience = 20 * time.Second

// traffic is a number of clients that ask again and again until they are told to end.
type traffic struct {
	ctx      context.Context
	end      context.CancelFunc
	clients  sync.WaitGroup
	requests atomic.Int64

	mu     sync.Mutex
	errors []loss
	born   int // clients so far
}

// loss is a request that failed.
type loss struct {
	client  int
	timeout bool // nobody answered, and nobody said that nobody would
	text    string
}

func newTraffic(ctx context.Context) *traffic {
	t := &traffic{}
	t.ctx, t.end = context.WithCancel(ctx)
	return t
}

// start adds clients that ask a URL at a rate each, from within a network namespace or, without one, from the host. Each keeps a
// connection of its own, or makes one for each request.
func (t *traffic) start(clients int, rate time.Duration, netns, url string, keepAlive bool) {
	for range clients {
		t.born++
		id := t.born
		transport := &http.Transport{DialContext: from(netns), DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 1}
		client := &http.Client{Transport: transport, Timeout: patience}
		t.clients.Go(func() {
			defer transport.CloseIdleConnections()
			pace := time.NewTicker(rate)
			defer pace.Stop()
			for {
				select {
				case <-pace.C:
				case <-t.ctx.Done():
					return
				}
				t.ask(id, client, url, keepAlive)
			}
		})
	}
}

func (t *traffic) ask(id int, client *http.Client, url string, keepAlive bool) {
	t.requests.Add(1)
	if err := get(client, url); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		text := fmt.Sprintf("%s client %d %s (keep-alive %v): %v", time.Now().Format("15:04:05.000"), id, url, keepAlive, err)
		t.errors = append(t.errors, loss{id, os.IsTimeout(err), text})
	}
}

func get(client *http.Client, url string) error {
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", r.Status)
	}
	return nil
}

// stop ends the clients and fails the test for each request that was lost.
func (t *traffic) stop(test *testing.T) {
	test.Helper()
	t.end()
	t.clients.Wait()
	test.Logf("%d requests, %d lost", t.requests.Load(), len(t.errors))
	for _, e := range t.errors[:min(len(t.errors), 20)] {
		test.Error(e.text)
	}
}

// stopAfterDeath ends the clients after the death of a node. A client has one request on its way at a time, so it may have lost one, and was
// told so.
func (t *traffic) stopAfterDeath(test *testing.T) {
	test.Helper()
	t.end()
	t.clients.Wait()
	test.Logf("%d requests, %d lost", t.requests.Load(), len(t.errors))
	lost := map[int][]string{}
	for _, e := range t.errors {
		if lost[e.client] = append(lost[e.client], e.text); e.timeout || len(lost[e.client]) > 1 {
			test.Errorf("client %d lost:\n%s", e.client, strings.Join(lost[e.client], "\n"))
		}
	}
}

// from dials within a network namespace: a socket belongs for ever to that of the thread that made it.
func from(netns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{}
	if netns == "" {
		return d.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return nil, err
		}
		defer own.Close()
		there, err := os.Open("/run/netns/" + netns)
		if err != nil {
			return nil, err
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		c, err := d.DialContext(ctx, network, address)
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine, and nobody else gets it
		}
		return c, err
	}
}
