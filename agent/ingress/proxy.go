package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/netproxy"
)

// Config of a proxy. A port of 0 is not served.
type Config struct {
	Addresses           []netip.Addr
	HTTPPort, HTTPSPort int
	Logger              hclog.Logger
}

// Proxy serves a node's ingresses. Make it with New, feed it, and run it with Run.
type Proxy struct {
	cfg      Config
	log      hclog.Logger
	model    model
	swapping sync.Mutex // guards pool
	pool     pool
	routing  atomic.Pointer[routing]
	used     gate
	reverse  *httputil.ReverseProxy
	own      func() (certificate, error)
}

// New makes a proxy that knows of no ingress.
func New(cfg Config) *Proxy {
	p := &Proxy{cfg: cfg, log: cfg.Logger, model: model{live: newObjects()}, pool: pool{wires: newWires()}, used: newGate(),
		own: sync.OnceValues(func() (certificate, error) { return selfSigned("ingress.invalid") })}
	p.routing.Store(&routing{})
	p.reverse = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: balancer{}, ErrorHandler: p.failed,
		ModifyResponse: func(res *http.Response) error { exchangeOf(res.Request.Context()).begun(); return nil },
		ErrorLog:       cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}), BufferPool: &buffers{},
	}
	return p
}

// Swap puts the model as it is now in force, with the endpoints of a table.
func (p *Proxy) Swap(t *netproxy.Table) {
	p.swapping.Lock()
	defer p.swapping.Unlock()
	p.model.mu.Lock()
	p.pool.begin()
	r := build(p.model.live, t, &p.pool)
	p.model.mu.Unlock()
	p.routing.Store(r)
	p.pool.end()
	p.pool.wires.lose(t.Lost) // after the routing: what is sent anew finds other endpoints
	p.used.set(r.used)
}

// exchange is one request on its way.
type exchange struct {
	target *target

	mu    sync.Mutex
	timer *time.Timer // ends it unless the response begins; nil if it may take for ever, or has begun
}

// moved starts the clock again: a client that sends a long body is not a backend that is slow.
func (x *exchange) moved() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.timer != nil {
		x.timer.Reset(x.target.options.Timeout)
	}
}

// begun stops the clock: a response that has begun may take its time.
func (x *exchange) begun() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

var errTimeout = errors.New("the backend did not answer in time")

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := p.routing.Load().find(r.Host, r.URL.Path)
	switch {
	case t == nil:
		http.Error(w, "no ingress has a rule for this host and path", http.StatusNotFound)
	case t.options.Redirect && r.TLS == nil && p.cfg.HTTPSPort != 0:
		http.Redirect(w, r, "https://"+p.secureHost(r.Host)+r.URL.RequestURI(), http.StatusPermanentRedirect)
	case t.options.BodyMax > 0 && r.ContentLength > t.options.BodyMax:
		http.Error(w, "the body is larger than the ingress allows", http.StatusRequestEntityTooLarge)
	default:
		p.carry(w, r, t)
	}
}

// secureHost is the host of a request at the port for HTTPS.
func (p *Proxy) secureHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if p.cfg.HTTPSPort == 443 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(p.cfg.HTTPSPort))
}

func (p *Proxy) carry(w http.ResponseWriter, r *http.Request, t *target) {
	if t.options.BodyMax > 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, t.options.BodyMax)
	}
	x := &exchange{target: t}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, x))
	defer cancel(nil)
	if t.options.Timeout > 0 {
		x.timer = time.AfterFunc(t.options.Timeout, func() { cancel(errTimeout) })
		defer x.begun()
	}
	p.reverse.ServeHTTP(w, r.WithContext(ctx))
}

// rewrite leaves the request as the client sent it, and says on whose behalf it comes. What the client says of that itself is not believed.
func rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme = "http"
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.SetXForwarded()
}

func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	var large *http.MaxBytesError
	code := http.StatusBadGateway
	switch {
	case errors.Is(context.Cause(r.Context()), errTimeout):
		code, err = http.StatusGatewayTimeout, errTimeout
	case r.Context().Err() != nil:
		return // the client has gone
	case errors.As(err, &large):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoEndpoint):
		code = http.StatusServiceUnavailable
	}
	p.log.Debug("a request failed", "ingress", exchangeOf(r.Context()).target.ingress, "host", r.Host, "path", r.URL.Path, "code", code, "error", err)
	http.Error(w, http.StatusText(code), code)
}

// buffers implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if x, ok := b.pool.Get().(*[]byte); ok {
		return *x
	}
	return make([]byte, bufferBytes)
}

func (b *buffers) Put(x []byte) { b.pool.Put(&x) }

var _ http.RoundTripper = balancer{}
var _ io.ReadCloser = (*heldBody)(nil)
