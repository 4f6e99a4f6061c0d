package ingress

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// answerBody is the body of a response, with whose end the endpoint has a request less.
type answerBody struct {
	io.ReadCloser
	end func()
}

func (b *answerBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// upgraded is an upgraded connection, which is such a body and is written to as well.
type upgraded struct {
	io.ReadWriteCloser
	end func()
}

func (b *upgraded) Close() error {
	b.end()
	return b.ReadWriteCloser.Close()
}

// heldBody outlives a try that failed: a transport closes the body of a request that it could not send.
type heldBody struct {
	io.ReadCloser
	exchange *exchange
	read     atomic.Bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	n, err := b.ReadCloser.Read(p)
	b.exchange.moved()
	return n, err
}

// Close leaves the body open: it is the server's, which closes it.
func (b *heldBody) Close() error { return nil }

// mayRetry says whether a request may be sent again: it never reached an endpoint, or it changes nothing; and its body is whole.
func (b *heldBody) mayRetry(r *http.Request, err error) bool {
	if r.Context().Err() != nil || b.read.Load() {
		return false
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	return safe || unreached(err)
}

// unreached says of an error that no connection came about.
func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
