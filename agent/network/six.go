package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// In clusters of two families a pod's second address has the place in the node's IPv6 network that its first one has in the IPv4 network, so that
// it needs no book of its own. Between nodes IPv6 goes through the VXLAN device, whose ends have IPv4 addresses: nodes need none of
// the second family.

// second is the IPv6 address of the pod with an IPv4 address; the zero value in clusters of one family.
func (g *ground) second(first netip.Addr) netip.Addr {
	if !g.cidr6.IsValid() || !g.cidr.Contains(first) {
		return netip.Addr{}
	}
	base, four, six := g.cidr.Addr().As4(), first.As4(), g.cidr6.Addr().As16()
	for i := range four {
		six[12+i] |= four[i] &^ base[i]
	}
	return netip.AddrFrom16(six)
}

// SecondAddress is the IPv6 address of the link that has an IPv4 address: one that lasts and that others can reach, and no service's.
func SecondAddress(first netip.Addr) (netip.Addr, error) {
	fours, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing the node's addresses: %w", err)
	}
	i := slices.IndexFunc(fours, func(x netlink.Addr) bool { return x.IP.Equal(first.AsSlice()) })
	if i < 0 {
		return netip.Addr{}, fmt.Errorf("no link has the address %s", first)
	}
	link, err := netlink.LinkByIndex(fours[i].LinkIndex)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("finding the link of %s: %w", first, err)
	}
	sixes, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing the IPv6 addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, x := range sixes {
		if a, ok := netip.AddrFromSlice(x.IP); ok && lasting(x) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("link %s, which has %s, has no IPv6 address that lasts", link.Attrs().Name, first)
}

// lasting leaves out what only the link can reach, what another has or that will soon go, and addresses of services, which an Announcer
// gives a few seconds at a time.
func lasting(x netlink.Addr) bool {
	const fleeting = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED
	bits, _ := x.Mask.Size()
	return x.Scope == unix.RT_SCOPE_UNIVERSE && x.Flags&fleeting == 0 && !(bits == 128 && x.ValidLft > 0 && x.ValidLft <= announceLifetime)
}

func (n *Network) checkCIDR6(c netip.Prefix) error {
	switch {
	case !c.Addr().Is6() || c != c.Masked() || c.Bits() > 96:
		return fmt.Errorf("the second pod CIDR %s is not an IPv6 network of 32 bits of addresses or more", c)
	case !n.cfg.ClusterCIDR6.IsValid() || c.Bits() < n.cfg.ClusterCIDR6.Bits() || !n.cfg.ClusterCIDR6.Contains(c.Addr()):
		return fmt.Errorf("the pod CIDR %s lies outside the cluster's second CIDR %s", c, n.cfg.ClusterCIDR6)
	}
	return nil
}

// build6 makes the node's part for IPv6: forwarding, the bridge's address and the masquerade rule.
func (n *Network) build6(g *ground, br netlink.Link) error {
	if err := n.home.run(func() error { return enable6(n.cfg.Bridge) }); err != nil {
		return err
	}
	gw := netip.PrefixFrom(gateway(g.cidr6), g.cidr6.Bits())
	if err := n.home.AddrReplace(br, &netlink.Addr{IPNet: ipNet(gw), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("giving %s address %s: %w", n.cfg.Bridge, gw, err)
	}
	return n.ensureMasquerade6(g.cidr6)
}

// enable6 lets a link of ours have IPv6 addresses, at once: nobody else has them.
func enable6(link string) error {
	for _, s := range []struct{ name, value string }{{"disable_ipv6", "0"}, {"accept_dad", "0"}, {"accept_ra", "0"}} {
		if err := writeSysctl("net/ipv6/conf/"+link+"/"+s.name, s.value); err != nil {
			return err
		}
	}
	return nil
}

// plug6 gives a pod its second address, and a way out that leaves room for the VXLAN header.
func (n *Network) plug6(g *ground, ns *home, pod *netlink.Handle, eth netlink.Link, first netip.Addr) error {
	addr := g.second(first)
	if err := ns.run(func() error { return enable6(podLink) }); err != nil {
		return err
	}
	if err := pod.AddrReplace(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, g.cidr6.Bits())), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("giving %s address %s: %w", podLink, addr, err)
	}
	via := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway(g.cidr6).AsSlice(), MTU: min(g.mtu, g.tunnel)}
	if err := pod.RouteReplace(via); err != nil {
		return fmt.Errorf("adding the default route of IPv6: %w", err)
	}
	return nil
}

func (n *Network) masqueradeTable6() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv6, Name: tableName + "-masquerade-" + n.cfg.Bridge}
}

func (n *Network) filterTable6() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv6, Name: n.filterTable().Name}
}

func (n *Network) ensureMasquerade6(pods netip.Prefix) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	t := n.masqueradeTable6()
	conn.AddTable(t) // so that there is one to delete
	conn.DelTable(t)
	conn.AddTable(t)
	chain := conn.AddChain(&nftables.Chain{Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	w := &ruleWriter{conn: conn, table: t, of: ipv6}
	w.rule(chain, matchPrefix(ipv6.source, pods, expr.CmpOpEq), matchPrefix(ipv6.destination, n.cfg.ClusterCIDR6, expr.CmpOpNeq),
		matchPrefix(ipv6.destination, n.cfg.ServiceCIDR6, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("writing the masquerade rule of IPv6: %w", err)
	}
	return nil
}

// syncRoutes6 has the routes to the other nodes' second networks, all through the VXLAN device.
func (n *Network) syncRoutes6(g *ground, dev int, paths []path) error {
	have, err := n.ourRoutes6()
	if err != nil {
		return err
	}
	want := map[netip.Prefix]netlink.Route{}
	for _, p := range paths {
		if g.cidr6.IsValid() && p.PodCIDR6.IsValid() {
			want[p.PodCIDR6] = netlink.Route{Dst: ipNet(p.PodCIDR6), Src: gateway(g.cidr6).AsSlice(), Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN,
				LinkIndex: dev, Gw: gateway(p.PodCIDR6).AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		}
	}
	var errs []error
	for _, r := range have {
		c, _ := prefixOf(r.Dst)
		if w, ok := want[c]; ok && r.LinkIndex == w.LinkIndex && r.Gw.Equal(w.Gw) {
			delete(want, c)
		} else if err := n.home.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("removing the route to %s: %w", c, err))
		}
	}
	for c, r := range want {
		if err := n.home.RouteReplace(&r); err != nil {
			errs = append(errs, fmt.Errorf("adding the route to %s: %w", c, err))
		}
	}
	return errors.Join(errs...)
}

// ourRoutes6 are those of IPv6 that carry our mark and lead into the cluster's second CIDR.
func (n *Network) ourRoutes6() ([]netlink.Route, error) {
	if !n.cfg.ClusterCIDR6.IsValid() {
		return nil, nil
	}
	all, err := n.home.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing the routes of IPv6: %w", err)
	}
	ours := all[:0]
	for _, r := range all {
		if c, ok := prefixOf(r.Dst); ok && n.cfg.ClusterCIDR6.Contains(c.Addr()) {
			ours = append(ours, r)
		}
	}
	return ours, nil
}

// remove6 removes the tables and routes of IPv6.
func (n *Network) remove6() error {
	if !n.cfg.ClusterCIDR6.IsValid() {
		return nil
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	masquerade := n.masqueradeTable6()
	conn.AddTable(masquerade)
	conn.DelTable(masquerade)
	return errors.Join(conn.Flush(), n.syncRoutes6(&ground{}, 0, nil))
}
