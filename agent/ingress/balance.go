package ingress

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// target is where a rule leads.
type target struct {
	ingress   string // namespace/name, for the log
	options   api.IngressOptions
	endpoints []*endpoint
}

// endpoint is a pod's port with its connections: each has a transport of its own, so that those of one that goes can be closed.
type endpoint struct {
	address   string
	scheme    string
	transport *http.Transport
	active    atomic.Int64 // requests
	avoid     atomic.Int64 // Unix time in nanoseconds until which it is passed over
}

// pool keeps the endpoints from one routing to the next. Only one goroutine at a time may use it.
type pool struct {
	wires *wires
	known map[destination]*endpoint
	used  map[destination]*endpoint // by the routing that is being made
}

// destination is one endpoint as it is spoken to: two ingresses may differ about that.
type destination struct {
	at netip.AddrPort
	as speech
}

func (p *pool) begin() { p.used = map[destination]*endpoint{} }

// end forgets the endpoints that the new routing does not name. Their requests under way go on.
func (p *pool) end() {
	for a, e := range p.known {
		if p.used[a] == nil {
			e.transport.CloseIdleConnections()
		}
	}
	p.known, p.used = p.used, nil
}

// endpoints are those of a service's port that take new requests; if none is ready, those that still serve while they terminate.
func (p *pool) endpoints(s *netproxy.Service, port *netproxy.Port, as speech) []*endpoint {
	var ready, serving []*endpoint
	for i := range port.Endpoints {
		switch e := &port.Endpoints[i]; {
		case e.Ready || s.PublishNotReady:
			ready = append(ready, p.endpoint(destination{e.Address, as}))
		case e.Serving && e.Terminating:
			serving = append(serving, p.endpoint(destination{e.Address, as}))
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return serving
}

func (p *pool) endpoint(d destination) *endpoint {
	if e := p.used[d]; e != nil {
		return e
	}
	e := p.known[d]
	if e == nil {
		e = &endpoint{address: d.at.String(), scheme: d.as.scheme(), transport: d.as.transport(p.wires)}
	}
	p.used[d] = e
	return e
}

// choose takes two endpoints at random and returns the one with fewer requests. One that was tried is not taken again, one that could
// not be reached lately only if there is no other. It returns nil if all were tried.
func choose(set, tried []*endpoint, now time.Time) *endpoint {
	good := make([]*endpoint, 0, len(set))
	var poor []*endpoint
	for _, e := range set {
		switch {
		case slices.Contains(tried, e):
		case e.avoid.Load() > now.UnixNano():
			poor = append(poor, e)
		default:
			good = append(good, e)
		}
	}
	if len(good) == 0 {
		good = poor
	}
	if len(good) == 0 {
		return nil
	}
	a, b := good[rand.IntN(len(good))], good[rand.IntN(len(good))]
	if b.active.Load() < a.active.Load() {
		return b
	}
	return a
}

var errNoEndpoint = errors.New("no endpoint of the service is ready")

// balancer sends each request to an endpoint of its target, and to another one if that is safe and may help.
type balancer struct{}

// RoundTrip implements http.RoundTripper.
func (balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	body := &heldBody{ReadCloser: r.Body, exchange: x}
	var tried []*endpoint
	err := errNoEndpoint
	for len(tried) < triesMax {
		e := choose(x.target.endpoints, tried, time.Now())
		if e == nil {
			break
		}
		tried = append(tried, e)
		var res *http.Response
		if res, err = e.send(r, body); err == nil || !body.mayRetry(r, err) {
			return res, err
		}
	}
	return nil, err
}

func (e *endpoint) send(r *http.Request, body *heldBody) (*http.Response, error) {
	out := r.WithContext(r.Context())
	u := *r.URL
	u.Host, u.Scheme = e.address, e.scheme
	out.URL = &u
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = body
	}
	e.active.Add(1)
	res, err := e.transport.RoundTrip(out)
	if err != nil {
		e.active.Add(-1)
		if unreached(err) {
			e.avoid.Store(time.Now().Add(avoidTime).UnixNano())
		}
		return nil, err
	}
	if w, ok := res.Body.(io.ReadWriteCloser); ok { // an upgraded connection, which is written to as well
		res.Body = &upgraded{ReadWriteCloser: w, end: e.done()}
	} else {
		res.Body = &answerBody{ReadCloser: res.Body, end: e.done()}
	}
	return res, nil
}

// done ends a request once, however often it is called.
func (e *endpoint) done() func() {
	var ended atomic.Bool
	return func() {
		if !ended.Swap(true) {
			e.active.Add(-1)
		}
	}
}
