package netproxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// later makes a proxy that takes connections only once it is told to, so that clients have sent before; it runs until the test ends.
func later(t *testing.T, tab *Table) (p *Proxy, run func()) {
	t.Helper()
	p, err := New(Config{Logger: hclog.NewNullLogger(), ServiceCIDR: netip.MustParsePrefix(serviceIP), SourceAddress: netip.MustParseAddr(nodeIP), Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	p.Swap(tab)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ended <- nil
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p, func() {
		<-ended
		go func() { ended <- p.Run(ctx) }()
	}
}

// Most endpoints refuse; each client's bytes come back whole, from the one that answers.
// Invariant 219.
func TestWhatIsSentBeforeAnAnswerGoesToOneEndpoint(t *testing.T) {
	for name, size := range map[string]int{"a word": 5, "a buffer": bufferBytes, "more than a buffer": 5*bufferBytes + 7} {
		t.Run(name, func(t *testing.T) {
			serve(t, backendAddr(1), echo)
			p, run := later(t, table(TCP, endpoints(backendAddr(1), backendAddr(2), backendAddr(3), backendAddr(4))))
			sent := make([]byte, size)
			for i := range sent {
				sent[i] = byte(rand.Uint32())
			}
			var clients []*net.TCPConn
			for range 40 {
				c := dial(t, vip)
				if size < bufferBytes {
					if _, err := c.Write(sent); err != nil {
						t.Fatal(err)
					}
					_ = c.CloseWrite()
				} else { // the kernel does not take all of it before the proxy runs
					go func() {
						_, _ = c.Write(sent)
						_ = c.CloseWrite()
					}()
				}
				clients = append(clients, c)
			}
			run()
			for _, c := range clients {
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("%d bytes of %d came back, or others: %v", len(got), size, err)
				}
			}
			eventually(t, "all counted", func() bool {
				sum := p.Totals()
				return sum.Active == 0 && sum.BytesIn == uint64(40*size) && sum.BytesOut == uint64(40*size)
			})
			if p.Totals().Retries == 0 {
				t.Error("no dial failed")
			}
		})
	}
}

// Clients that reset their connections before an endpoint was dialled are forgotten, and blamed on none.
func TestClientsThatLeaveBeforeAnAnswer(t *testing.T) {
	serve(t, backendAddr(1), echo)
	p, run := later(t, table(TCP, endpoints(backendAddr(1))))
	for range 20 {
		c := dial(t, vip)
		if _, err := io.WriteString(c, "unheard"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	last := dial(t, vip)
	run()
	if got, err := askOn(last); err != nil || got != "who" {
		t.Fatalf("got %q, %v", got, err)
	}
	_ = last.Close()
	eventually(t, "all ended", func() bool { return p.Totals().Active == 0 })
	if sum := p.Totals(); sum.Retries != 0 || sum.Errors != 0 {
		t.Errorf("%+v", sum)
	}
}

// An endpoint that speaks first is heard at once, though its client says nothing.
func TestSilentClientsHearTheEndpoint(t *testing.T) {
	serve(t, backendAddr(1), func(c *net.TCPConn) { _, _ = io.WriteString(c, "greeting"); _, _ = io.Copy(io.Discard, c) })
	_, run := later(t, table(TCP, endpoints(backendAddr(1))))
	c := dial(t, vip)
	run()
	got := make([]byte, 8)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "greeting" {
		t.Fatalf("got %q, %v", got, err)
	}
}
