package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/peapod-sh/peapod/netproxy"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func cluster() *netproxy.Table {
	ready := func(a, host string) netproxy.Endpoint {
		return netproxy.Endpoint{Address: netip.MustParseAddrPort(a), Hostname: host, Ready: true}
	}
	unready := netproxy.Endpoint{Address: netip.MustParseAddrPort("10.20.0.9:5432"), Hostname: "db-9"}
	var many []netproxy.Endpoint
	for i := range 200 {
		many = append(many, ready(fmt.Sprintf("10.30.0.%d:80", i+1), ""))
	}
	return &netproxy.Table{
		Generation: 3, ClusterDomain: "cluster.local",
		Services: []netproxy.Service{
			{Namespace: "default", Name: "web", VIPs: []netip.Addr{addr("10.96.0.10"), addr("fd00:96::10")}, Ports: []netproxy.Port{
				{Name: "http", Port: 80, Endpoints: []netproxy.Endpoint{ready("10.20.0.1:8080", "")}},
				{Name: "dns", Port: 53, Protocol: netproxy.UDP},
			}},
			{Namespace: "data", Name: "db", Headless: true, Ports: []netproxy.Port{
				{Name: "sql", Port: 5432, Endpoints: []netproxy.Endpoint{ready("10.20.0.2:5432", "db-0"), ready("10.20.0.3:5432", ""), unready}},
			}},
			{Namespace: "data", Name: "many", Headless: true, Ports: []netproxy.Port{{Port: 80, Endpoints: many}}},
			{Namespace: "data", Name: "ext", ExternalName: "far.example.com"},
			{Namespace: "data", Name: "portless", Headless: true, Portless: []netproxy.Endpoint{ready("10.20.0.7:0", "pet"), ready("10.20.0.8:0", "")}},
			{Namespace: "data", Name: "empty", Headless: true, Ports: []netproxy.Port{{Name: "sql", Port: 5432, Endpoints: []netproxy.Endpoint{unready}}}},
			{Namespace: "data", Name: "early", Headless: true, PublishNotReady: true, Ports: []netproxy.Port{{Name: "sql", Port: 5432, Endpoints: []netproxy.Endpoint{unready}}}},
			{Namespace: "data", Name: "number", ExternalName: "192.0.2.7"},
			{Namespace: "data", Name: "near", ExternalName: "web.default.svc.cluster.local"},
		},
		Pods: []netproxy.PodName{{Namespace: "default", Address: addr("127.0.0.1")}, {Namespace: "data", Address: addr("10.20.0.2")}},
	}
}

// knowing starts an upstream that knows far.example.com and big.example.com, whose answer only fits TCP, and counts what it is asked.
func knowing(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) {
		asked.Add(1)
		m := new(mdns.Msg).SetReply(r)
		q := r.Question[0]
		records := map[string]int{"far.example.com.": 1, "big.example.com.": 300}[q.Name]
		if records == 0 {
			m.Rcode = mdns.RcodeNameError
		}
		for i := range records {
			if q.Qtype == mdns.TypeA {
				m.Answer = append(m.Answer, &mdns.A{
					Hdr: mdns.RR_Header{Name: q.Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 300},
					A:   net.IPv4(192, 0, byte(2+i/250), byte(1+i%250)),
				})
			}
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(udpSizeMax)
		}
		_ = w.WriteMsg(m)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*mdns.Server{{Listener: l, Handler: handler}, {PacketConn: p, Handler: handler}} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx, s) }()
		t.Cleanup(func() { cancel(); <-done })
	}
	return l.Addr().(*net.TCPAddr).AddrPort(), &asked
}

func serve(t *testing.T, upstreams ...netip.AddrPort) *Server {
	t.Helper()
	return serveAs(t, Config{Upstreams: append([]netip.AddrPort{}, upstreams...)})
}

// serveAs runs a server of the table cluster. The machine's own settings have no part in it.
func serveAs(t *testing.T, c Config) *Server {
	t.Helper()
	c.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	if c.Resolv == "" {
		c.Resolv = os.DevNull
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(cluster())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func ask(t *testing.T, s *Server, network, name string, kind uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(name, kind)
	r, _, err := (&mdns.Client{Net: network}).Exchange(m, s.Addr().String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// brief writes an answer as "rcode: data, data", sorted.
func brief(m *mdns.Msg) string {
	var data []string
	for _, rr := range m.Answer {
		data = append(data, strings.ReplaceAll(strings.TrimPrefix(rr.String(), rr.Header().String()), "\t", " "))
	}
	slices.Sort(data)
	return mdns.RcodeToString[m.Rcode] + ": " + strings.Join(data, ", ")
}

func TestAnswers(t *testing.T) {
	up, _ := knowing(t)
	s := serve(t, up)
	const nothing, missing = "NOERROR: ", "NXDOMAIN: "
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"web.default.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.96.0.10"},
		{"WEB.default.svc.Cluster.Local.", mdns.TypeA, "NOERROR: 10.96.0.10"},
		{"web.default.svc.cluster.local.", mdns.TypeAAAA, "NOERROR: fd00:96::10"},
		{"web.default.svc.cluster.local.", mdns.TypeMX, nothing},
		{"_http._tcp.web.default.svc.cluster.local.", mdns.TypeSRV, "NOERROR: 0 100 80 web.default.svc.cluster.local."},
		{"_dns._udp.web.default.svc.cluster.local.", mdns.TypeSRV, "NOERROR: 0 100 53 web.default.svc.cluster.local."},
		{"_http._udp.web.default.svc.cluster.local.", mdns.TypeSRV, missing},
		{"_http._tcp.web.default.svc.cluster.local.", mdns.TypeA, nothing},
		{"_tcp.web.default.svc.cluster.local.", mdns.TypeA, nothing},
		{"db.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.2, 10.20.0.3"},
		{"db.data.svc.cluster.local.", mdns.TypeAAAA, nothing},
		{"db-0.db.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.2"},
		{"10-20-0-3.db.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.3"},
		{"db-9.db.data.svc.cluster.local.", mdns.TypeA, missing},
		{"_sql._tcp.db.data.svc.cluster.local.", mdns.TypeSRV,
			"NOERROR: 0 100 5432 10-20-0-3.db.data.svc.cluster.local., 0 100 5432 db-0.db.data.svc.cluster.local."},
		{"ext.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 192.0.2.1, far.example.com."},
		{"ext.data.svc.cluster.local.", mdns.TypeCNAME, "NOERROR: far.example.com."},
		{"near.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.96.0.10, web.default.svc.cluster.local."},
		{"portless.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.7, 10.20.0.8"},
		{"pet.portless.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.7"},
		{"empty.data.svc.cluster.local.", mdns.TypeA, missing},
		{"_sql._tcp.empty.data.svc.cluster.local.", mdns.TypeSRV, missing},
		{"early.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.9"},
		{"db-9.early.data.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.9"},
		{"number.data.svc.cluster.local.", mdns.TypeA, nothing},
		{"web.default.svc.cluster.local.", mdns.TypeANY, `NOERROR: "RFC8482" ""`},
		{"none.default.svc.cluster.local.", mdns.TypeANY, missing},
		{"far.example.com.", mdns.TypeANY, `NOERROR: "RFC8482" ""`},
		{"none.default.svc.cluster.local.", mdns.TypeA, missing},
		{"default.svc.cluster.local.", mdns.TypeA, nothing},
		{"nowhere.svc.cluster.local.", mdns.TypeA, missing},
		{"svc.cluster.local.", mdns.TypeA, nothing},
		{"cluster.local.", mdns.TypeSOA, "NOERROR: ns.dns.cluster.local. hostmaster.cluster.local. 3 7200 1800 86400 5"},
		{"dns-version.cluster.local.", mdns.TypeTXT, `NOERROR: "1.1.0"`},
		{"10-20-0-2.data.pod.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.2"},
		{"10-20-0-2.default.pod.cluster.local.", mdns.TypeA, missing},
		{"10.0.96.10.in-addr.arpa.", mdns.TypePTR, "NOERROR: web.default.svc.cluster.local."},
		{"2.0.20.10.in-addr.arpa.", mdns.TypePTR, "NOERROR: db-0.db.data.svc.cluster.local."},
		{"far.example.com.", mdns.TypeA, "NOERROR: 192.0.2.1"},
		{"no.example.com.", mdns.TypeA, missing},
		// The asking pod, 127.0.0.1, is of the namespace default: its search list is walked.
		{"far.example.com.default.svc.cluster.local.", mdns.TypeA, "NOERROR: 192.0.2.1, far.example.com."},
		{"far.example.com.default.svc.cluster.local.", mdns.TypeAAAA, nothing},
		{"db.data.default.svc.cluster.local.", mdns.TypeA, "NOERROR: 10.20.0.2, 10.20.0.3, db.data.svc.cluster.local."},
		{"far.example.com.data.svc.cluster.local.", mdns.TypeA, missing},
		{"no.example.com.default.svc.cluster.local.", mdns.TypeA, missing},
	} {
		for _, network := range []string{"udp", "udp", "tcp"} { // the second is from what was remembered
			r := ask(t, s, network, c.name, c.kind)
			if got := brief(r); got != c.want {
				t.Errorf("%s %s: %q, want %q", c.name, mdns.TypeToString[c.kind], got, c.want)
			}
			if len(r.Answer) == 0 && strings.HasSuffix(c.name, "cluster.local.") && !strings.Contains(c.name, "example") && len(r.Ns) != 1 {
				t.Errorf("%s: no SOA says how long there is nothing", c.name)
			}
		}
	}
}

func TestReverseOfIPv6(t *testing.T) {
	s := serve(t)
	name, err := mdns.ReverseAddr("fd00:96::10")
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(ask(t, s, "udp", name, mdns.TypePTR)); got != "NOERROR: web.default.svc.cluster.local." {
		t.Error(got)
	}
}

// An answer that does not fit a datagram says so, and is whole by TCP, whether it is ours or an upstream's.
func TestTruncation(t *testing.T) {
	up, _ := knowing(t)
	s := serve(t, up)
	for name, n := range map[string]int{"many.data.svc.cluster.local.": 200, "big.example.com.": 300} {
		if r := ask(t, s, "udp", name, mdns.TypeA); !r.Truncated || size(r) > udpSizeMin {
			t.Errorf("%s: truncated %v at %d bytes", name, r.Truncated, size(r))
		}
		if r := ask(t, s, "tcp", name, mdns.TypeA); r.Truncated || len(r.Answer) != n {
			t.Errorf("%s: %d records by TCP", name, len(r.Answer))
		}
		m := new(mdns.Msg).SetQuestion(name, mdns.TypeA).SetEdns0(4096, false)
		r, _, err := (&mdns.Client{UDPSize: 4096}).Exchange(m, s.Addr().String())
		if err != nil || size(r) <= udpSizeMin || size(r) > udpSizeMax || r.IsEdns0() == nil {
			t.Errorf("%s with EDNS: %d bytes, %v", name, size(r), err)
		}
	}
}

// size is that of the message on the wire.
func size(m *mdns.Msg) int {
	m.Compress = true
	return m.Len()
}

func TestUpstreamIsAskedOnce(t *testing.T) {
	up, asked := knowing(t)
	s := serve(t, up)
	for range 5 {
		ask(t, s, "udp", "far.example.com.", mdns.TypeA)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestWithoutUpstreamFailsAtOnce(t *testing.T) {
	s := serve(t)
	if r := ask(t, s, "udp", "far.example.com.", mdns.TypeA); r.Rcode != mdns.RcodeServerFailure {
		t.Error(brief(r))
	}
	if r := ask(t, s, "udp", "none.default.svc.cluster.local.", mdns.TypeA); r.Rcode != mdns.RcodeNameError {
		t.Error(brief(r))
	}
}

func TestDeadUpstreamIsPassedOver(t *testing.T) {
	up, _ := knowing(t)
	s := serve(t, netip.MustParseAddrPort("127.0.0.1:1"), up)
	if got := brief(ask(t, s, "udp", "far.example.com.", mdns.TypeA)); got != "NOERROR: 192.0.2.1" {
		t.Error(got)
	}
}
