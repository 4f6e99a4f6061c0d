package netproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that a proxy made, so that one that was killed leaves none for ever (see rtnetlink(7)).
const routeProtocol = 113

// reclaim removes the routes that a proxy before left in this network namespace.
func reclaim() error {
	mine := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		found, err := netlink.RouteListFiltered(family, mine, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("reading the routes that were left: %w", err)
		}
		for i := range found {
			if err := netlink.RouteDel(&found[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("removing a route that was left: %w", err)
			}
		}
	}
	return nil
}

// anyIP is the route that makes the service range local, so that sockets can be bound to any address of it and
// pods behind a bridge reach them.
type anyIP struct {
	route netlink.Route
	ours  bool
}

// addAnyIP adds the route, or puts it in the place of one with another source address. It returns nil for no prefix.
func addAnyIP(cidr netip.Prefix, source netip.Addr) (*anyIP, error) {
	if !cidr.IsValid() {
		return nil, nil
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("finding the loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("setting the loopback device up (are we root?): %w", err)
	}
	a := &anyIP{route: localRoute(lo.Attrs().Index, cidr.Masked(), source)}
	there, err := a.present()
	if err != nil {
		return nil, err
	}
	if there {
		return a, nil
	}
	a.ours = true
	if err := netlink.RouteReplace(&a.route); err != nil {
		return nil, fmt.Errorf("adding the local route of the service range %s with source %s (the source must be an address of this node): %w",
			cidr, source, err)
	}
	return a, nil
}

func localRoute(lo int, cidr netip.Prefix, source netip.Addr) netlink.Route {
	r := netlink.Route{
		LinkIndex: lo,
		Dst:       &net.IPNet{IP: cidr.Addr().AsSlice(), Mask: net.CIDRMask(cidr.Bits(), cidr.Addr().BitLen())},
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Protocol:  routeProtocol,
	}
	// The source keeps the node's own connections from coming from the virtual address itself.
	if source.IsValid() && source.Is4() == cidr.Addr().Is4() {
		r.Src = source.AsSlice()
	}
	return r
}

// present reports whether just this route is there already.
func (a *anyIP) present() (bool, error) {
	family := netlink.FAMILY_V4
	if a.route.Dst.IP.To4() == nil {
		family = netlink.FAMILY_V6
	}
	found, err := netlink.RouteListFiltered(family, &a.route,
		netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_TYPE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false, fmt.Errorf("reading the local routes: %w", err)
	}
	for _, r := range found {
		if r.Src.Equal(a.route.Src) {
			return true, nil
		}
	}
	return false, nil
}

// remove takes the route away if addAnyIP added it.
func (a *anyIP) remove() error {
	if a == nil || !a.ours {
		return nil
	}
	a.ours = false
	if err := netlink.RouteDel(&a.route); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("removing the local route of the service range: %w", err)
	}
	return nil
}

// outside are the addresses in other ranges than those that are local as a whole. Each has a route of its own, since a cluster
// has few of them and this host has addresses in such ranges that are not to be hidden.
type outside struct {
	whole  []netip.Prefix
	source netip.Addr
	routes map[netip.Addr]*anyIP
}

// follow adds the routes that a table needs, and removes those that it no longer does. What cannot be added is tried again.
func (o *outside) follow(t *Table) (failed []error) {
	if !o.whole[0].IsValid() {
		return nil
	}
	wanted := map[netip.Addr]bool{}
	for i := range t.Services {
		for _, ip := range t.Services[i].localAddresses() {
			if slices.ContainsFunc(o.whole, func(p netip.Prefix) bool { return p.Contains(ip) }) || wanted[ip] {
				continue
			}
			wanted[ip] = true
			if o.routes[ip] == nil {
				failed = append(failed, o.add(ip)...)
			}
		}
	}
	for ip, route := range o.routes {
		if !wanted[ip] {
			delete(o.routes, ip)
			if err := route.remove(); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return failed
}

// localAddresses are those that are of no use unless they are local.
func (s *Service) localAddresses() []netip.Addr {
	if len(s.ExternalIPs)+len(s.BalancerIPs) == 0 {
		return s.VIPs
	}
	all := slices.Concat(s.VIPs, s.ExternalIPs)
	if s.Announced {
		return all
	}
	return append(all, s.BalancerIPs...)
}

// add leaves an address alone that is local already, whoever made it so.
func (o *outside) add(ip netip.Addr) []error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return []error{fmt.Errorf("finding the loopback device: %w", err)}
	}
	a := &anyIP{route: localRoute(lo.Attrs().Index, netip.PrefixFrom(ip, ip.BitLen()), o.source), ours: true}
	switch err := netlink.RouteAdd(&a.route); {
	case errors.Is(err, unix.EEXIST):
		a.ours = false
	case err != nil:
		return []error{fmt.Errorf("adding a local route to the service address %s: %w", ip, err)}
	}
	o.routes[ip] = a
	return nil
}

func (o *outside) clear() error { return errors.Join(o.follow(&Table{})...) }
