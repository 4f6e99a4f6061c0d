package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// BenchmarkAnswer is one datagram's way from what the kernel gave to what it gets, without the system calls.
func BenchmarkAnswer(b *testing.B) {
	s, err := New(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Upstreams: []netip.AddrPort{}, Resolv: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.Swap(cluster())
	l := newLoop(s, s.loops[0].conn)
	l.of = s.zone.Load()
	from, buf := netip.MustParseAddrPort("127.0.0.1:1"), make([]byte, 0, udpSizeMax)
	for _, c := range []struct {
		what, name string
		kind       uint16
		forget     bool
	}{
		{"packed", "web.default.svc.cluster.local.", mdns.TypeA, false}, {"unpacked", "web.default.svc.cluster.local.", mdns.TypeA, true},
		{"headless", "db.data.svc.cluster.local.", mdns.TypeA, false}, {"missing", "none.default.svc.cluster.local.", mdns.TypeA, false},
	} {
		q, err := new(mdns.Msg).SetQuestion(c.name, c.kind).Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.forget {
					clear(l.packed)
				}
				if len(l.answer(context.Background(), q, from, buf)) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkDatagrams is the whole way of a batch of questions, with the system calls. It prints the processor time that one answer takes
// its server, the delivery to the client on the same machine included, and not the client's own.
func BenchmarkDatagrams(b *testing.B) {
	for _, size := range []int{1, 8, datagramBatch} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			runtime.LockOSThread() // whose time is measured
			defer runtime.UnlockOSThread()
			w := newExchange(b)
			var used time.Duration
			b.ReportAllocs()
			for b.Loop() {
				w.ask(b, size)
				before := threadTime(b)
				w.answer(b, size)
				used += threadTime(b) - before
				w.read(b, size)
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*size), "cpu-ns/answer")
		})
	}
}

func threadTime(t testing.TB) time.Duration {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at); err != nil {
		t.Fatal(err)
	}
	return time.Duration(at.Nano())
}

// exchange is a server's loop, run by hand, and a client.
type exchange struct {
	loop     *loop
	batch    *batch
	client   *net.UDPConn
	question []byte
	buffer   [udpSizeMax]byte
}

func newExchange(t testing.TB) *exchange {
	t.Helper()
	s, err := New(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Upstreams: []netip.AddrPort{}, Resolv: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, l := range s.loops[1:] { // else the kernel may give the questions to another
		l.conn.Close()
	}
	s.Swap(cluster())
	w := &exchange{loop: s.loops[0]}
	if w.batch, err = newBatch(w.loop.conn); err != nil {
		t.Fatal(err)
	}
	if w.client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addr())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	if w.question, err = new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA).Pack(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *exchange) ask(t testing.TB, n int) {
	for i := range n {
		w.question[1] = byte(i)
		if _, err := w.client.Write(w.question); err != nil {
			t.Fatal(err)
		}
	}
}

// answer answers n questions, in as many batches as it gets them.
func (w *exchange) answer(t testing.TB, n int) {
	for n > 0 {
		got, err := w.batch.receive()
		if err != nil {
			t.Fatal(err)
		}
		w.loop.answerAll(context.Background(), w.batch, got)
		if err := w.batch.send(); err != nil {
			t.Fatal(err)
		}
		n -= got
	}
}

// read reads n answers and checks that they are to the questions, in their order.
func (w *exchange) read(t testing.TB, n int) {
	for i := range n {
		size, err := w.client.Read(w.buffer[:])
		if err != nil {
			t.Fatal(err)
		}
		if size <= len(w.question) || w.buffer[1] != byte(i) || w.buffer[7] != 1 {
			t.Fatalf("answer %d of %d is % x", i, n, w.buffer[:size])
		}
	}
}
