package netproxy

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEchoThroughEveryAddress(t *testing.T) {
	serve(t, backendAddr(1), echo)
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	for _, addr := range []string{vip, nodePort, "127.0.0.1:30080"} {
		c := dial(t, addr)
		for _, word := range []string{"hello", "again"} {
			if _, err := io.WriteString(c, word); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(word))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
				t.Fatalf("%s: got %q, %v", addr, got, err)
			}
		}
		_ = c.Close()
	}
	eventually(t, "connections counted and ended", func() bool {
		sum := p.Totals()
		return sum.Connections == 3 && sum.Active == 0 && sum.BytesIn == 30 && sum.BytesOut == 30
	})
}

// A half-closed connection must still carry the other direction: the answer comes after the client's end.
func TestHalfClose(t *testing.T) {
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err == nil {
			_, _ = c.Write(bytes.ToUpper(all))
		}
	})
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	c := dial(t, vip)
	_, _ = io.WriteString(c, "question")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "QUESTION" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// The endpoint ends its direction first; what the client sends afterwards still arrives.
func TestHalfCloseByEndpoint(t *testing.T) {
	arrived := make(chan string, 1)
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "greeting")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		arrived <- string(all)
	})
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	c := dial(t, vip)
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "greeting" {
		t.Fatalf("got %q, %v", got, err)
	}
	_, _ = io.WriteString(c, "late")
	_ = c.Close()
	if got := <-arrived; got != "late" {
		t.Fatalf("the endpoint got %q", got)
	}
}

// Bulk goes through the buffer, then through pipes, both ways at once, and with readers that lag; every byte must
// arrive in order.
func TestBulkBothWays(t *testing.T) {
	const size = 48 << 20
	down := random(1, size)
	sums := make(chan [32]byte, 8)
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		var writer sync.WaitGroup
		defer writer.Wait() // before the connection is closed
		writer.Go(func() {
			_, _ = c.Write(down)
			_ = c.CloseWrite()
		})
		sums <- digest(c)
	})
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	for i := range 4 {
		up := random(uint64(2+i), size+i)
		c := dial(t, vip)
		got := make(chan [32]byte, 1)
		go func() { got <- digest(c) }()
		if _, err := c.Write(up); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		if <-sums != sha256.Sum256(up) {
			t.Fatal("what arrived at the endpoint differs")
		}
		if <-got != sha256.Sum256(down) {
			t.Fatal("what arrived at the client differs")
		}
	}
}

func random(seed uint64, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, size)
	_, _ = r.Read(b)
	return b
}

func digest(r io.Reader) [32]byte {
	h := sha256.New()
	_, _ = io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 7000))
	return [32]byte(h.Sum(nil))
}

// A read stops short at a mark of urgent data, with more behind it, and an end may be known already. Urgent bytes themselves
// are lost, as in any proxy.
func TestUrgentDataHidesNothing(t *testing.T) {
	arrived := make(chan string, 1)
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		arrived <- string(all)
	})
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	for _, kept := range []bool{false, true} {
		c := dial(t, vip)
		if kept { // the connection stands when the mark comes
			_, _ = io.WriteString(c, "x")
			eventually(t, "a byte relayed", func() bool { sum := p.Totals(); return sum.BytesIn%2 == 1 })
		}
		_, _ = io.WriteString(c, "abc")
		urgent(t, c, "!")
		_, _ = io.WriteString(c, "def")
		_ = c.CloseWrite()
		want := "abcdef"
		if kept {
			want = "xabcdef"
		}
		if got := <-arrived; got != want {
			t.Errorf("the endpoint got %q, want %q", got, want)
		}
	}
}

func urgent(t *testing.T, c *net.TCPConn, b string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.Send(int(fd), []byte(b), unix.MSG_OOB) }); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
}
