package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Filter says what isolated pods of this node may reach, and who may reach them. Addresses are of either family. It is not changed once it was
// handed over.
type Filter struct {
	// Egress and Ingress hold the isolated pods of a direction by each of their addresses: what nothing here allows is dropped.
	// A connection that was let through goes on, in both directions.
	Egress, Ingress map[netip.Addr][]Allow
	// Trusted reach every pod here: the other nodes, whose service proxies have decided already.
	Trusted []netip.Addr
}

// Allow lets pass what has its other end among the peers and its destination port among the ports.
type Allow struct {
	AnyPeer bool
	Peers   []AddrRange // without AnyPeer; sorted and disjoint, those of IPv4 first
	AnyPort bool        // of every protocol, also of those without ports
	Ports   []PortRange // without AnyPort
}

// AddrRange is all addresses from First to Last, both included and of one family.
type AddrRange struct{ First, Last netip.Addr }

// PortRange is all ports of an IP protocol (6, 17 or 132) from First to Last, both included.
type PortRange struct {
	Protocol    uint8
	First, Last uint16
}

// filter is what SetFilter has put in force.
type filter struct {
	mu   sync.Mutex
	last *Filter // nil before the first call: the rules are those of an earlier agent
}

// Gateway is the address of a node's bridge, by which the node reaches the pods of other nodes.
func Gateway(podCIDR netip.Prefix) netip.Addr { return gateway(podCIDR) }

// SetFilter puts f in force, whole and at once. After an error the filter before it is in force.
func (n *Network) SetFilter(f *Filter) error {
	n.filter.mu.Lock()
	defer n.filter.mu.Unlock()
	g := n.ground.Load()
	if g == nil {
		return ErrNoSetup
	}
	if n.filter.last != nil && reflect.DeepEqual(n.filter.last, f) {
		return nil
	}
	if err := n.putFilter(g, f); err != nil {
		return fmt.Errorf("putting network policies in force: %w", err)
	}
	n.filter.last = f
	return nil
}

func (n *Network) putFilter(g *ground, f *Filter) error {
	if len(f.Egress) == 0 && len(f.Ingress) == 0 {
		return errors.Join(n.filterBridge(g, false), n.removeFilter())
	}
	if err := n.ensureBridgeFilter(); err != nil {
		return err
	}
	if err := n.writeFilter(g, f); err != nil {
		return err
	}
	return n.filterBridge(g, true)
}

// bridgeSysctl is there when the kernel can filter what a bridge carries.
const bridgeSysctl = "net/bridge/bridge-nf-call-iptables"

// ensureBridgeFilter has the kernel load what filters between pods of one node. Without it they could not be held apart,
// and nobody would notice.
func (n *Network) ensureBridgeFilter() error {
	return n.home.run(func() error {
		if _, err := readSysctl(bridgeSysctl); err == nil {
			return nil
		}
		out, failed := exec.Command("modprobe", "br_netfilter").CombinedOutput()
		if _, err := readSysctl(bridgeSysctl); err != nil {
			return fmt.Errorf("pods of one node cannot be held apart without the kernel module br_netfilter, which cannot be loaded (%w): %s", cmp.Or(failed, err), out)
		}
		return n.setSysctls() // the module comes with the filter on for every bridge
	})
}

// filterBridge has what our bridge carries from pod to pod pass the IP filters, or no longer.
func (n *Network) filterBridge(g *ground, on bool) error {
	value := uint8(0)
	if on {
		value = 1
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(g.bridge)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_BR_NF_CALL_IPTABLES, nl.Uint8Attr(value))
	if g.cidr6.IsValid() {
		data.AddRtAttr(nl.IFLA_BR_NF_CALL_IP6TABLES, nl.Uint8Attr(value))
	}
	err := n.home.run(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		req.AddData(msg)
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("changing whether bridge %s is filtered: %w", n.cfg.Bridge, err)
	}
	return nil
}

// sortedPods gives rules an order that does not change from one writing to the next.
func sortedPods(pods map[netip.Addr][]Allow) []netip.Addr {
	return slices.SortedFunc(maps.Keys(pods), netip.Addr.Compare)
}
