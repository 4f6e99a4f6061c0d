package netproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// The benchmarks measure a direct path and the proxied one in turn, against endpoints of their own addresses, and report
// the ratio: go test -run '^$' -bench . -benchtime 1x ./netproxy. The proxy is a process of its own, as its loops would
// contend with the client's goroutines for one scheduler; all share the processors.

const benchRounds = 3

// ratio runs one, which returns a rate, on both paths by turns and reports the sums' ratio.
func ratio(b *testing.B, unit string, one func(addr string) float64) {
	var direct, proxied float64
	for range benchRounds {
		direct += one(backendAddr(1))
		proxied += one(vip)
	}
	b.ReportMetric(direct/benchRounds, "direct-"+unit)
	b.ReportMetric(proxied/benchRounds, "proxied-"+unit)
	b.ReportMetric(proxied/direct, "ratio")
	b.ReportMetric(0, "ns/op")
}

func benchProxy(b *testing.B, handle func(*net.TCPConn)) {
	serve(b, backendAddr(1), handle)
	serve(b, backendAddr(2), handle)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asProxy+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatal(err)
	}
}

// proxyProcess relays to the second endpoint until its input ends.
func proxyProcess() int {
	p, err := New(Config{ServiceCIDR: netip.MustParsePrefix(serviceIP), SourceAddress: netip.MustParseAddr(nodeIP)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p.Swap(table(TCP, endpoints(backendAddr(2))))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if p.Run(ctx) != nil || p.Close() != nil {
		return 1
	}
	return 0
}

func BenchmarkBulk(b *testing.B) {
	const size = 1 << 30
	block := make([]byte, 256<<10)
	benchProxy(b, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 256<<10)
	for range b.N {
		ratio(b, "Gb/s", func(addr string) float64 {
			c := dial(b, addr)
			defer c.Close()
			begin := time.Now()
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(c, size)}, buf)
			if err != nil {
				b.Fatal(err)
			}
			return float64(n) * 8 / 1e9 / time.Since(begin).Seconds()
		})
	}
}

func BenchmarkRequests(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint("connections=", clients), func(b *testing.B) {
			benchProxy(b, named("an answer of some length"))
			for range b.N {
				ratio(b, "req/s", func(addr string) float64 { return requests(b, addr, clients, 40_000) })
			}
		})
	}
}

func requests(b *testing.B, addr string, clients, total int) float64 {
	var conns []net.Conn
	for range clients {
		conns = append(conns, dial(b, addr))
	}
	begin := time.Now()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() {
			defer c.Close()
			buf := make([]byte, 64)
			for range total / clients {
				if _, err := c.Write([]byte("who\n")); err != nil {
					b.Error(err)
					return
				}
				if _, err := c.Read(buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(total) / time.Since(begin).Seconds()
}

func BenchmarkConnections(b *testing.B) {
	benchProxy(b, named("x"))
	for range b.N {
		ratio(b, "conn/s", func(addr string) float64 {
			const clients, each = 8, 400
			begin := time.Now()
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for range each {
						if _, err := ask(addr); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			return clients * each / time.Since(begin).Seconds()
		})
	}
}

func BenchmarkSwapOneOfTenThousand(b *testing.B) {
	p := start(b, nil)
	big := &Table{NodeName: "n1"}
	for i := range 10_000 {
		big.Services = append(big.Services, Service{Name: fmt.Sprint(i), Headless: true, Ports: []Port{{Port: 80, Endpoints: endpoints(backendAddr(1))}}})
	}
	p.Swap(big)
	for i := 0; b.Loop(); i++ {
		big.Services[i%10_000].Ports = []Port{{Port: 80, Endpoints: endpoints(backendAddr(1 + i%2))}}
		p.Swap(big)
	}
}
