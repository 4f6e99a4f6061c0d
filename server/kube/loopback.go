package kube

import (
	"context"
	"io"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"
)

// loopback sends this server's own requests to its handler without a socket, TLS or a token.
type loopback struct{ handler http.Handler }

var _ http.RoundTripper = (*loopback)(nil)

// ownRequest in a request's context says that the server itself has sent it. Nothing that comes over the network can have it.
type ownRequest struct{}

// config is a client's configuration. The protobuf form takes less of both sides where there is one.
func (l *loopback) config() *restclient.Config {
	c := &restclient.Config{Host: "http://loopback", Transport: l, QPS: -1}
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	return c
}

// RoundTrip runs the handler in a goroutine that ends with the request.
func (l *loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), ownRequest{}, true))
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &loopbackWriter{header: http.Header{}, began: make(chan *http.Response, 1), request: r, body: loopbackBody{body, cancel}, out: out}
	go func() {
		defer cancel()
		defer func() { _ = out.Close() }() // of a pipe, which cannot fail
		l.handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
	}()
	select {
	case answer := <-w.began:
		if r.Context().Err() == nil { // else the handler may have ended because of that
			return answer, nil
		}
	case <-r.Context().Done():
	}
	cancel()
	_ = body.CloseWithError(r.Context().Err())
	return nil, r.Context().Err()
}

// loopbackBody ends the handler when the client has read enough.
type loopbackBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b loopbackBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// loopbackWriter is the handler's end.
type loopbackWriter struct {
	header  http.Header
	began   chan *http.Response // capacity 1: there is one answer
	once    sync.Once
	request *http.Request
	body    loopbackBody
	out     *io.PipeWriter
}

func (w *loopbackWriter) Header() http.Header { return w.header }
func (w *loopbackWriter) Flush()              { w.WriteHeader(http.StatusOK) }

// CloseNotify is never used, but apiserver flushes only to writers that have it.
func (w *loopbackWriter) CloseNotify() <-chan bool { return make(chan bool) }

func (w *loopbackWriter) WriteHeader(code int) {
	w.once.Do(func() {
		w.began <- &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: w.header.Clone(), Body: w.body, ContentLength: -1, Request: w.request}
	})
}

func (w *loopbackWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

// ownRequests lets the server's own requests do everything, and asks another about the rest.
type ownRequests struct{ others authenticator.Request }

func (o ownRequests) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Context().Value(ownRequest{}) != nil {
		return &authenticator.Response{User: &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}}, true, nil
	}
	return o.others.AuthenticateRequest(r)
}
