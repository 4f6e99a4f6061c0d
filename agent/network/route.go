package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// path is how a peer's pods are reached: by the link with this index where the node is a neighbour
// on it, or through the VXLAN device (link is 0).
type path struct {
	Peer
	link int
}

// paths asks the kernel how it reaches each node.
func (n *Network) paths(list []Peer) ([]path, error) {
	var out []path
	var errs []error
	direct := map[int]bool{}
	for _, p := range list {
		way, err := n.home.RouteGet(p.NodeIP.AsSlice())
		if err == nil && (len(way) == 0 || way[0].Type == unix.RTN_LOCAL) {
			err = errors.New("the address is this node's own")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: finding the way to %s: %w", p.Name, p.NodeIP, err))
			continue
		}
		x := path{Peer: p}
		if link := way[0].LinkIndex; way[0].Gw == nil && way[0].Via == nil && n.neighbourly(link, direct) {
			x.link = link
		}
		out = append(out, x)
	}
	return out, errors.Join(errs...)
}

// neighbourly tells whether a link finds its neighbours by ARP, so that any of them may be a next hop.
// Tunnels such as WireGuard carry only what their own tables allow.
func (n *Network) neighbourly(index int, known map[int]bool) bool {
	yes, ok := known[index]
	if !ok {
		l, err := n.home.LinkByIndex(index)
		yes = err == nil && l.Attrs().RawFlags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT|unix.IFF_LOOPBACK) == 0
		known[index] = yes
	}
	return yes
}

// ourRoutes are those in the main table that carry our mark and lead into the cluster CIDR.
func (n *Network) ourRoutes() ([]netlink.Route, error) {
	all, err := n.home.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	ours := all[:0]
	for _, r := range all {
		if c, ok := prefixOf(r.Dst); ok && n.cfg.ClusterCIDR.Contains(c.Addr()) {
			ours = append(ours, r)
		}
	}
	return ours, nil
}

func prefixOf(d *net.IPNet) (netip.Prefix, bool) {
	if d == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(d.IP)
	bits, _ := d.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

// syncRoutes replaces before it removes, so that no packet finds a gap.
func (n *Network) syncRoutes(g *ground, vxlan int, paths []path) error {
	have, err := n.ourRoutes()
	if err != nil {
		return err
	}
	old := map[netip.Prefix]netlink.Route{}
	for _, r := range have {
		c, _ := prefixOf(r.Dst)
		old[c] = r
	}
	var errs []error
	for _, p := range paths {
		want := p.route(g, vxlan)
		if r, ok := old[p.PodCIDR]; !ok || !sameRoute(r, want) {
			if err := n.home.RouteReplace(&want); err != nil {
				errs = append(errs, fmt.Errorf("node %s: adding the route to %s: %w", p.Name, p.PodCIDR, err))
			}
		}
		delete(old, p.PodCIDR)
	}
	for c, r := range old {
		if err := n.home.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("removing the route to %s: %w", c, err))
		}
	}
	return errors.Join(errs...)
}

// route has the bridge's address as its source, so that what the node itself sends to pods is
// answered by the same way, whatever lies between the nodes.
func (p path) route(g *ground, vxlan int) netlink.Route {
	r := netlink.Route{Dst: ipNet(p.PodCIDR), Src: gateway(g.cidr).AsSlice(), Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
	if p.link != 0 {
		r.LinkIndex, r.Gw = p.link, p.NodeIP.AsSlice()
		return r
	}
	r.LinkIndex, r.Gw, r.Flags = vxlan, p.PodCIDR.Addr().AsSlice(), int(netlink.FLAG_ONLINK)
	return r
}

func sameRoute(a, b netlink.Route) bool {
	return a.LinkIndex == b.LinkIndex && a.Gw.Equal(b.Gw) && a.Src.Equal(b.Src) && a.Flags&int(netlink.FLAG_ONLINK) == b.Flags&int(netlink.FLAG_ONLINK)
}

// removePeers removes the routes and the VXLAN device.
func (n *Network) removePeers() error {
	routes, err := n.ourRoutes()
	errs := []error{err}
	for _, r := range routes {
		if err := n.home.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("removing the route to %s: %w", r.Dst, err))
		}
	}
	return errors.Join(append(errs, n.removeVXLAN())...)
}

// ownVXLAN finds our device; a link of that name that is not ours is an error.
func (n *Network) ownVXLAN() (*netlink.Vxlan, error) {
	l, err := n.home.LinkByName(vxlanName(n.cfg.Bridge))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding the VXLAN device: %w", err)
	}
	dev, ok := l.(*netlink.Vxlan)
	if !ok || !bytes.HasPrefix(dev.HardwareAddr, macVXLAN) {
		return nil, fmt.Errorf("link %s exists and was not made by Peapod: remove it, or choose another bridge name", l.Attrs().Name)
	}
	return dev, nil
}
