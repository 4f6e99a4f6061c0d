package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/netproxy"
)

// tableServices and tableEndpoints are the size of a large cluster's table.
const (
	tableServices  = 10_000
	tableEndpoints = 10
)

// swapped says how a table was put in force.
type swapped struct {
	Took float64 // milliseconds
	CPU  float64 // of the thread that did it, milliseconds
}

// subject is a process that does nothing but carry the traffic of services: one at the given address, whose endpoint is the
// given backend, and as many others as it is asked for. It obeys lines until its input ends.
type subject struct {
	proxy         *netproxy.Proxy
	table         netproxy.Table
	turn, changes int // of all services, and of single ones
}

func runSubject(at, to string) error {
	profile := os.Getenv("PROXYBENCH_PROFILE")
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	p, err := netproxy.New(netproxy.Config{ServiceCIDR: netip.MustParsePrefix(serviceCIDR), SourceAddress: netip.MustParseAddr(nodeAddr),
		Limits: netproxy.Limits{Connections: files()}})
	if err != nil {
		return err
	}
	s := &subject{proxy: p, table: netproxy.Table{NodeName: "node"}}
	s.table.Services = []netproxy.Service{measured(netip.MustParseAddr(at), netip.MustParseAddr(to))}
	p.Swap(&s.table)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	fmt.Println("ready")
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := answers.Encode(s.obey(lines.Text())); err != nil {
			return err
		}
	}
	cancel()
	<-ended
	return p.Close()
}

func measured(at, to netip.Addr) netproxy.Service {
	s := netproxy.Service{Namespace: "bench", Name: "measured", VIPs: []netip.Addr{at}}
	for _, port := range []int{echoPort, oncePort, bulkPort, idlePort} {
		s.Ports = append(s.Ports, portTo(port, netproxy.TCP, to))
	}
	s.Ports = append(s.Ports, portTo(datagramPort, netproxy.UDP, to))
	return s
}

func portTo(port int, protocol netproxy.Protocol, to netip.Addr) netproxy.Port {
	return netproxy.Port{Port: uint16(port), Protocol: protocol,
		Endpoints: []netproxy.Endpoint{{Address: netip.AddrPortFrom(to, uint16(port)), Node: "node", Ready: true, Serving: true}}}
}

// obey does what a line asks for: a table is made, and put in force unless the line says that it is only made.
func (s *subject) obey(line string) any {
	if line == "free" {
		debug.FreeOSMemory()
		return nil
	}
	kind, onlyMade := strings.CutPrefix(line, "only make ")
	if !s.change(kind) {
		return fmt.Sprintf("%q is not understood", line)
	}
	runtime.GC() // what making the table left is not the swap's
	if onlyMade {
		return swapped{}
	}
	return s.swap()
}

// change makes a table of the kind; it reports false if there is no such kind.
func (s *subject) change(kind string) bool {
	switch kind {
	case "one": // of many services changes, and the table shares all else with the one before
		s.changes++
		services := append([]netproxy.Service(nil), s.table.Services...)
		at := 1 + s.changes/2%tableServices
		services[at].Ports = []netproxy.Port{crowd(at, s.turn+s.changes)} // to and fro
		s.table.Services = services
	case "all": // services are made anew, as after a lost watch, and each has another endpoint
		s.turn++
		s.fill()
	case "fill", "same": // services are made anew, and nothing has changed
		s.fill()
	default:
		return false
	}
	return true
}

func (s *subject) swap() swapped {
	s.table.Generation++
	next := s.table
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun, cpu := time.Now(), threadTime()
	s.proxy.Swap(&next)
	return swapped{float64(time.Since(begun).Microseconds()) / 1e3, (threadTime() - cpu) * 1e3}
}

func (s *subject) fill() {
	services := make([]netproxy.Service, 1, tableServices+1)
	services[0] = s.table.Services[0]
	for i := 1; i <= tableServices; i++ {
		services = append(services, netproxy.Service{Namespace: "crowd", Name: strings.Clone(fmt.Sprint("s", i)),
			VIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 98, byte(100 + i/250), byte(1 + i%250)})}, Ports: []netproxy.Port{crowd(i, s.turn)}})
	}
	s.table.Services = services
}

// crowd is the port of a service whose endpoints nobody asks for.
func crowd(service, turn int) netproxy.Port {
	p := netproxy.Port{Port: 80}
	for i := range tableEndpoints {
		n := service*tableEndpoints + i
		if i == 0 {
			n += turn % 2 * 1000000
		}
		p.Endpoints = append(p.Endpoints, netproxy.Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)}), 80),
			Node: "other", Ready: true, Serving: true})
	}
	return p
}
