package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/netproxy"
)

// records lists every address and port record of a table by the letter of the specification, one "name type data" each.
func records(t *netproxy.Table) map[string][]string {
	out := map[string][]string{}
	add := func(name string, kind uint16, data string) {
		key := name + " " + mdns.TypeToString[kind]
		if !slices.Contains(out[key], data) {
			out[key] = append(out[key], data)
		}
	}
	addAddress := func(name string, a netip.Addr) { add(name, addressType(a), a.String()) }
	for i := range t.Services {
		s := &t.Services[i]
		base := s.Name + "." + s.Namespace + ".svc.cluster.local."
		for _, vip := range s.VIPs {
			addAddress(base, vip)
		}
		for _, p := range s.Ports {
			port := "_" + p.Name + "." + protocolLabel(&p) + "." + base
			if p.Name != "" && !s.Headless {
				add(port, mdns.TypeSRV, fmt.Sprintf("0 100 %d %s", p.Port, base))
			}
			for _, e := range p.Endpoints {
				if !e.Ready && !s.PublishNotReady {
					continue
				}
				own := e.Hostname
				if own == "" {
					own = strings.ReplaceAll(e.Address.Addr().String(), ".", "-")
				}
				addAddress(own+"."+base, e.Address.Addr())
				if s.Headless {
					addAddress(base, e.Address.Addr())
				}
				if s.Headless && p.Name != "" {
					add(port, mdns.TypeSRV, fmt.Sprintf("0 100 %d %s", e.Address.Port(), own+"."+base))
				}
			}
		}
	}
	return out
}

func anyTable(t *rapid.T) *netproxy.Table {
	out := &netproxy.Table{ClusterDomain: "cluster.local"}
	for _, name := range []string{"a", "b"} {
		for _, namespace := range []string{"x", "y"} {
			if rapid.Bool().Draw(t, "exists") {
				out.Services = append(out.Services, anyService(t, namespace, name))
			}
		}
	}
	return out
}

func anyService(t *rapid.T, namespace, name string) netproxy.Service {
	s := netproxy.Service{Namespace: namespace, Name: name, Headless: rapid.Bool().Draw(t, "headless"), PublishNotReady: rapid.Bool().Draw(t, "publish")}
	if !s.Headless {
		s.VIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, rapid.Byte().Draw(t, "vip")})}
	}
	for _, port := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "http", "sql"}), 0, 3, rapid.ID).Draw(t, "ports") {
		p := netproxy.Port{Name: port, Port: rapid.Uint16().Draw(t, "port"), Protocol: rapid.SampledFrom([]netproxy.Protocol{netproxy.TCP, netproxy.UDP}).Draw(t, "protocol")}
		for _, last := range rapid.SliceOfNDistinct(rapid.ByteRange(1, 4), 0, 3, rapid.ID).Draw(t, "endpoints") {
			p.Endpoints = append(p.Endpoints, netproxy.Endpoint{
				Address:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, 0, last}), p.Port),
				Hostname: rapid.SampledFrom([]string{"", "pet-0", "pet-1"}).Draw(t, "hostname"), Ready: rapid.Bool().Draw(t, "ready"),
			})
		}
		s.Ports = append(s.Ports, p)
	}
	return s
}

// TestZoneIsTheSpecification, Invariant 110: for every name that could be asked, the zone answers with the records that a
// naive reading of the table lists, and no others.
func TestZoneIsTheSpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		z, want := newZone(table, "cluster.local"), records(table)
		for _, prefix := range []string{"", "pet-0.", "pet-1.", "10-20-0-1.", "10-20-0-4.", "_http._tcp.", "_sql._udp.", "_x._tcp."} {
			for _, service := range []string{"a.x.", "a.y.", "b.x.", "b.y."} {
				name := prefix + service + "svc.cluster.local."
				for _, kind := range []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV} {
					if kind == mdns.TypeSRV && !strings.HasPrefix(prefix, "_") {
						continue // the specification has none there; ours are in TestAnswers
					}
					checkRecords(t, z, name, kind, want[name+" "+mdns.TypeToString[kind]])
				}
			}
		}
	})
}

func checkRecords(t *rapid.T, z *zone, name string, kind uint16, want []string) {
	r := z.answer(name, kind)
	got := strings.TrimPrefix(brief(&mdns.Msg{Answer: r.answer}), "NOERROR: ")
	slices.Sort(want)
	if got != strings.Join(want, ", ") {
		t.Fatalf("%s %s: %q, want %q", name, mdns.TypeToString[kind], got, want)
	}
	if len(want) > 0 && !r.found {
		t.Fatalf("%s has records and is not found", name)
	}
	for _, rr := range r.answer {
		if rr.Header().Name != name {
			t.Fatalf("a record of %s answers for %s", rr.Header().Name, name)
		}
	}
}
