package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// missing tells that a link is not there, in any of netlink's ways of saying so.
func missing(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, unix.ENODEV)
}

// ensureBridge makes the bridge, or takes the one that an earlier agent of this node left, and gives
// it the gateway's address and no other.
func (n *Network) ensureBridge(cidr netip.Prefix, mtu int) (netlink.Link, error) {
	br, err := n.home.LinkByName(n.cfg.Bridge)
	if missing(err) {
		br, err = n.addBridge(mtu)
	}
	if err != nil {
		return nil, fmt.Errorf("making bridge %s: %w", n.cfg.Bridge, err)
	}
	if err := n.checkOwner(br); err != nil {
		return nil, err
	}
	if br.Attrs().MTU != mtu {
		if err := n.home.LinkSetMTU(br, mtu); err != nil {
			return nil, fmt.Errorf("setting the MTU of %s to %d: %w", n.cfg.Bridge, mtu, err)
		}
	}
	if err := n.home.run(func() error { return quieten(n.cfg.Bridge) }); err != nil {
		return nil, err
	}
	if err := n.ensureAddr(br, netip.PrefixFrom(gateway(cidr), cidr.Bits())); err != nil {
		return nil, fmt.Errorf("giving %s its address: %w", n.cfg.Bridge, err)
	}
	if err := n.home.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("setting %s up: %w", n.cfg.Bridge, err)
	}
	return br, nil
}

func (n *Network) addBridge(mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = n.cfg.Bridge, mtu, bridgeMAC(n.cfg.NodeName)
	if err := n.home.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return n.home.LinkByName(n.cfg.Bridge)
}

// checkOwner refuses a link under our bridge's name that this node did not make.
func (n *Network) checkOwner(br netlink.Link) error {
	if br.Type() == "bridge" && bytes.Equal(br.Attrs().HardwareAddr, bridgeMAC(n.cfg.NodeName)) {
		return nil
	}
	who := "was not made by Peapod"
	if br.Type() == "bridge" && bytes.HasPrefix(br.Attrs().HardwareAddr, macBridge) {
		who = "belongs to another node in this network namespace"
	}
	return fmt.Errorf("link %s exists and %s: choose another bridge name, or remove it with `ip link del %[1]s` if nothing needs it", n.cfg.Bridge, who)
}

// ensureAddr makes want the only IPv4 address of a link of ours.
func (n *Network) ensureAddr(l netlink.Link, want netip.Prefix) error {
	have, err := n.home.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	found := false
	for _, a := range have {
		if a.IPNet.String() == want.String() {
			found = true
			continue
		}
		if err := n.home.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	if found {
		return nil
	}
	return n.home.AddrReplace(l, &netlink.Addr{IPNet: ipNet(want)})
}

// nodeMTU is the MTU of the link that other nodes reach us by: the one with NodeIP, else that of the
// default route.
func (n *Network) nodeMTU() (int, error) {
	addrs, err := n.home.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("listing the node's addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap() == n.cfg.NodeIP && !ip.IsLoopback() {
			return n.linkMTU(a.LinkIndex), nil
		}
	}
	routes, err := n.home.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("listing the node's routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex > 0 && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			return n.linkMTU(r.LinkIndex), nil
		}
	}
	return fallbackMTU, nil
}

func (n *Network) linkMTU(index int) int {
	l, err := n.home.LinkByIndex(index)
	if err != nil || l.Attrs().Flags&unix.IFF_LOOPBACK != 0 || l.Attrs().MTU < 576 {
		return fallbackMTU
	}
	return l.Attrs().MTU
}

// ports are the host ends of the pods' pairs, by their name.
func (n *Network) ports() (map[string]netlink.Link, error) {
	links, err := n.home.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing the node's links: %w", err)
	}
	index := 0
	for _, l := range links {
		if l.Attrs().Name == n.cfg.Bridge && n.checkOwner(l) == nil {
			index = l.Attrs().Index
		}
	}
	out := map[string]netlink.Link{}
	for _, l := range links {
		a := l.Attrs()
		if _, ours := hostMACAddr(a.HardwareAddr); ours && index != 0 && a.MasterIndex == index && strings.HasPrefix(a.Name, vethPrefix) {
			out[a.Name] = l
		}
	}
	return out, nil
}
