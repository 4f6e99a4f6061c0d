package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// raw is a server that answers every request with the same bytes, and tells what it was asked.
func raw(t *testing.T, answer string, asked chan<- string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := in.ReadString('\n')
				if err != nil {
					break
				}
				head += line
			}
			asked <- head
			_, _ = io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestOnce: what this transport makes of an answer is what net/http's own makes of it.
func TestOnce(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nto the end",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
		strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 7),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
		"HTTP/1.1 200", "nonsense\r\n\r\n", "",
	} {
		asked := make(chan string, 2)
		url := raw(t, answer, asked)
		type seen struct {
			status  int
			body, e string
			head    string
		}
		see := func(rt http.RoundTripper) (s seen) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/a?b=c", nil)
			if err != nil {
				t.Fatal(err)
			}
			SetHeaders(req, nil)
			resp, err := rt.RoundTrip(req)
			lines := strings.Split(<-asked, "\r\n")
			slices.Sort(lines)
			s.head = strings.Join(lines, "|")
			if err != nil {
				s.e = "error"
				return s
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
			if err != nil {
				s.e = err.Error()
			}
			s.status, s.body = resp.StatusCode, string(b)
			return s
		}
		if got, want := see(once{}), see(transport()); got != want {
			t.Errorf("%q:\n%+v, net/http has\n%+v", answer, got, want)
		}
	}
}

// TestOnceClient: redirects within the host are followed, TLS is for the other transport, and nothing outlives its context.
func TestOnceClient(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/from", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/to", http.StatusFound) })
	mux.HandleFunc("/to", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { <-hang })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	defer close(hang)
	for _, server := range []string{plain.URL, secure.URL} {
		resp, err := Client.Get(server + "/from")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot || resp.Request.URL.Path != "/to" {
			t.Errorf("%s: %d from %s", server, resp.StatusCode, resp.Request.URL)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/hang", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Client.Do(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: hanging gave %v", server, err)
		}
		cancel()
	}
}

// TestAfter: questions come on the grid, a period apart, never two for one time and never in the past but for the one that
// was missed last.
func TestAfter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		began := time.Now()
		p := &Prober{began: began}
		due := began.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "due")))
		period := time.Duration(rapid.IntRange(1, 60).Draw(r, "period")) * time.Second
		now := due
		for range 20 {
			now = due.Add(time.Duration(rapid.Int64Range(0, int64(3*period)).Draw(r, "answer")))
			next := p.after(due, period, now)
			switch step := next.Sub(due); {
			case next.Sub(began)%grid != 0:
				r.Fatalf("%s is not on the grid", next.Sub(began))
			case step < period:
				r.Fatalf("the next one is %s later, the period is %s", step, period)
			case now.Sub(next) >= period:
				r.Fatalf("it makes up for more than one: now %s, next %s", now.Sub(began), next.Sub(began))
			case next.After(now) && step >= period+grid:
				r.Fatalf("one was left out: %s after the last", step)
			}
			due = next
		}
	})
}
