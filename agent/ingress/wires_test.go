package ingress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// backendAt is a server at an address of its own, which stands for a machine. Once it is still, it reads requests and never answers, as one
// whose machine is gone.
func backendAt(t *testing.T, ip string, still <-chan struct{}, arrived chan<- string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-still:
			arrived <- ip
			<-stop
		default:
			fmt.Fprint(w, ip)
		}
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(func() { close(stop); s.CloseClientConnections(); s.Close() })
	return l.Addr().String()
}

// TestRequestsToALostMachine: Invariant 152. A request on a pooled connection to a machine that is lost is answered by another one if it may be
// repeated, and told to have failed if not; neither waits.
func TestRequestsToALostMachine(t *testing.T) {
	dead := netip.MustParsePrefix("127.0.0.2/32")
	for _, c := range []struct {
		method string
		code   int
		named  bool // the endpoint is still in the table when its machine is lost
	}{{"GET", 200, true}, {"GET", 200, false}, {"POST", http.StatusBadGateway, true}, {"POST", http.StatusBadGateway, false}} {
		t.Run(fmt.Sprint(c.method, " ", c.named), func(t *testing.T) {
			still, arrived := make(chan struct{}), make(chan string, 10)
			first := backendAt(t, "127.0.0.2", still, arrived)
			second := backendAt(t, "127.0.0.3", nil, nil)
			p := proxyFor([]string{first, second}, ingressOf("in", 0, "h / Prefix a"))
			p.pool.known[destination{at: netip.MustParseAddrPort(second)}].avoid.Store(time.Now().Add(time.Hour).UnixNano()) // the other one has the first turn
			s := front(t, p)
			if _, who, _ := ask(t, "GET", s.URL, "h", ""); who != "127.0.0.2" {
				t.Fatalf("%q answers", who)
			}
			close(still)
			type answer struct {
				code int
				who  string
				err  error
			}
			answered := make(chan answer, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, c.method, s.URL, nil)
				r.Host = "h"
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					answered <- answer{err: err}
					return
				}
				defer res.Body.Close()
				b, err := io.ReadAll(res.Body)
				answered <- answer{res.StatusCode, string(b), err}
			}()
			<-arrived
			lost := tableTo(first, second)
			if !c.named {
				p.Swap(tableTo(second))
				lost = tableTo(second)
			}
			lost.Lost = []netip.Prefix{dead}
			p.Swap(lost)
			a := <-answered
			if a.err != nil || a.code != c.code {
				t.Fatalf("%s: %+v, want %d", c.method, a, c.code)
			}
			for range 20 { // nor does a later request try the machine again
				if code, who, _ := ask(t, "POST", s.URL, "h", "x"); code != 200 || who != "127.0.0.3" {
					t.Fatalf("%d %s", code, who)
				}
			}
			if p.pool.wires.isLost(netip.MustParseAddr("127.0.0.3")) {
				t.Error("the other machine is lost, too")
			}
			p.Swap(tableTo(first)) // it is back
			if !opensTo(p, first) {
				t.Error("a machine that is back is not dialled")
			}
		})
	}
}

func opensTo(p *Proxy, address string) bool {
	c, err := p.pool.wires.dial(context.Background(), "tcp", address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// TestWiresAreForgotten: closed connections are not kept.
func TestWiresAreForgotten(t *testing.T) {
	at := backend(t, func(http.ResponseWriter, *http.Request) {})
	ws := newWires()
	c, err := ws.dial(context.Background(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ws.lose([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	if len(ws.open) != 1 {
		t.Fatalf("%d connections are open, want 1", len(ws.open))
	}
	_ = c.Close()
	if len(ws.open) != 0 {
		t.Errorf("%d connections are kept", len(ws.open))
	}
}
