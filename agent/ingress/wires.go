package ingress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// errLost is of an endpoint on a machine that is taken for dead.
var errLost = errors.New("the endpoint's node is taken for dead")

// wires are the connections to all endpoints. A machine that died does not end its own, and a request on one of them would wait for the
// kernel to give up, which takes a quarter of an hour.
type wires struct {
	mu   sync.Mutex
	lost []netip.Prefix     // guarded by mu
	open map[*wire]struct{} // guarded by mu
}

// wire is one connection, which its transport closes, or lose.
type wire struct {
	net.Conn
	to  netip.Addr
	all *wires
}

func newWires() *wires { return &wires{open: map[*wire]struct{}{}} }

// Close implements net.Conn.
func (w *wire) Close() error {
	w.all.mu.Lock()
	delete(w.all.open, w)
	w.all.mu.Unlock()
	return w.Conn.Close()
}

// dial connects to an endpoint, unless its machine is lost: then it fails at once, so that another endpoint is tried.
func (ws *wires) dial(ctx context.Context, network, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	w := &wire{to: at.Addr().Unmap(), all: ws}
	refused := &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(at), Err: errLost}
	if ws.isLost(w.to) {
		return nil, refused
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	if w.Conn, err = d.DialContext(ctx, network, address); err != nil {
		return nil, err
	}
	if !ws.note(w) {
		_ = w.Conn.Close()
		return nil, refused
	}
	return w, nil
}

func (ws *wires) isLost(to netip.Addr) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return within(ws.lost, to)
}

// note takes a connection up. It says no if its machine was lost while it was made.
func (ws *wires) note(w *wire) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if within(ws.lost, w.to) {
		return false
	}
	ws.open[w] = struct{}{}
	return true
}

// lose ends the connections to machines that are taken for dead. What waits on them fails, and is sent elsewhere if that is safe.
func (ws *wires) lose(lost []netip.Prefix) {
	ws.mu.Lock()
	ws.lost = lost
	var dead []*wire
	for w := range ws.open {
		if within(lost, w.to) {
			dead = append(dead, w)
		}
	}
	ws.mu.Unlock()
	for _, w := range dead {
		_ = w.Close()
	}
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
