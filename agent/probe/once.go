package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// headerBytesMax is what net/http's own transport reads of an answer's header.
	headerBytesMax = 10 << 20
	// hintsMax is how many answers of 1xx may come before the real one, as in net/http's own transport.
	hintsMax = 5
)

// once is a transport for requests that have a connection each. net/http's own gives each connection two goroutines and a
// place in its pool, which costs several times as much as asking a pod of this node takes. What is not plain HTTP is for rest.
type once struct{ rest http.RoundTripper }

// dialer has no keepalives: setting them is four calls of the kernel for a connection that lives a millisecond.
var dialer = net.Dialer{Timeout: 30 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}

// RoundTrip implements http.RoundTripper.
func (t once) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" {
		return t.rest.RoundTrip(req)
	}
	ctx := req.Context()
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(req))
	if err != nil {
		return nil, err
	}
	a := &answer{conn: conn, stop: context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })}
	a.in = readers.Get().(*bufio.Reader)
	a.in.Reset(&io.LimitedReader{R: conn, N: headerBytesMax + bodyMax})
	resp, err := a.ask(req)
	if err != nil {
		a.Close()
		if ctx.Err() != nil {
			err = ctx.Err() // rather than a deadline of ours
		}
		return nil, err
	}
	a.body, resp.Body = resp.Body, a
	return resp, nil
}

func hostPort(req *http.Request) string {
	if req.URL.Port() != "" {
		return req.URL.Host
	}
	return net.JoinHostPort(req.URL.Hostname(), "80") // where a redirect may lead
}

var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// answer is a response's body, whose end is the connection's.
type answer struct {
	conn net.Conn
	stop func() bool
	in   *bufio.Reader
	body io.ReadCloser
}

// ask writes the request and reads the answer's header.
func (a *answer) ask(req *http.Request) (*http.Response, error) {
	closing := *req // a transport must not change the request
	closing.Close = true
	if err := closing.Write(a.conn); err != nil {
		return nil, err
	}
	if _, err := a.in.Peek(1); err != nil {
		return nil, err // nothing at all, where ReadResponse would miss the rest
	}
	for range hintsMax + 1 {
		resp, err := http.ReadResponse(a.in, req)
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
	return nil, fmt.Errorf("more than %d answers that are not final", hintsMax)
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) { return a.body.Read(b) }

// Close implements io.Closer. The rest of the body is not waited for.
func (a *answer) Close() error {
	if a.in == nil {
		return nil
	}
	a.stop()
	err := a.conn.Close()
	a.in.Reset(nil)
	readers.Put(a.in)
	a.in = nil
	return err
}
