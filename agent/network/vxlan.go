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

// ensureVXLAN makes the device, or replaces one with other settings, and returns its index. It learns
// nothing from traffic: every entry comes from the node list.
func (n *Network) ensureVXLAN(g *ground) (int, error) {
	dev, err := n.ownVXLAN()
	if err != nil {
		return 0, err
	}
	if dev != nil && (dev.VxlanId != vxlanID || dev.Port != n.cfg.VXLANPort || dev.MTU != g.tunnel ||
		!bytes.Equal(dev.HardwareAddr, macOf(macVXLAN, n.cfg.NodeIP))) {
		if err := n.drops.remove(dev); err != nil {
			return 0, err
		}
		dev = nil
	}
	if dev == nil {
		if dev, err = n.addVXLAN(g); err != nil {
			return 0, fmt.Errorf("making the VXLAN device: %w", err)
		}
	}
	if dev.Flags&net.FlagUp != 0 {
		return dev.Index, nil
	}
	if err := n.home.run(func() error { return quieten(dev.Name) }); err != nil {
		return 0, err
	}
	if g.cidr6.IsValid() {
		if err := n.home.run(func() error { return enable6(dev.Name) }); err != nil {
			return 0, err
		}
	}
	if err := n.home.LinkSetUp(dev); err != nil {
		return 0, fmt.Errorf("setting the VXLAN device up: %w", err)
	}
	return dev.Index, nil
}

func (n *Network) addVXLAN(g *ground) (*netlink.Vxlan, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = vxlanName(n.cfg.Bridge), g.tunnel, macOf(macVXLAN, n.cfg.NodeIP)
	dev := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: vxlanID, Port: n.cfg.VXLANPort}
	if n.hasAddr(n.cfg.NodeIP) {
		dev.SrcAddr = n.cfg.NodeIP.AsSlice()
	}
	if err := n.home.LinkAdd(dev); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("identifier %d on port %d is taken by another device: %w", vxlanID, n.cfg.VXLANPort, err)
		}
		return nil, err
	}
	return n.ownVXLAN()
}

// hasAddr tells whether addr is one of the node's own, which it is not behind a NAT.
func (n *Network) hasAddr(addr netip.Addr) bool {
	all, err := n.home.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return false
	}
	for _, a := range all {
		if have, ok := netip.AddrFromSlice(a.IP); ok && have.Unmap() == addr {
			return true
		}
	}
	return false
}

// removeVXLAN removes our device if there is one; a stranger of that name is left alone.
func (n *Network) removeVXLAN() error {
	l, err := n.home.LinkByName(vxlanName(n.cfg.Bridge))
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding the VXLAN device: %w", err)
	}
	if l.Type() != "vxlan" || !bytes.HasPrefix(l.Attrs().HardwareAddr, macVXLAN) {
		return nil
	}
	return n.drops.remove(l)
}

// syncVXLAN makes two entries for every tunnelled peer: which hardware address its end has (the
// network address of its pods stands for it), and which node that hardware address is at.
func (n *Network) syncVXLAN(dev int, paths []path) error {
	want := map[string]netlink.Neigh{}
	for _, p := range paths {
		for _, e := range p.entries(dev) {
			want[entryKey(e)] = e
		}
	}
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		have, err := n.home.NeighList(dev, family)
		if err != nil {
			return fmt.Errorf("listing the VXLAN device's entries: %w", err)
		}
		for _, e := range have {
			e.Family = family
			if _, ok := want[entryKey(e)]; ok && e.State&netlink.NUD_PERMANENT != 0 {
				delete(want, entryKey(e))
			} else if e.State&netlink.NUD_PERMANENT != 0 {
				errs = append(errs, n.dropEntry(e))
			}
		}
	}
	for _, e := range want {
		if err := n.home.NeighSet(&e); err != nil {
			errs = append(errs, fmt.Errorf("adding the VXLAN entry for %s: %w", e.IP, err))
		}
	}
	return errors.Join(errs...)
}

// entries are those of a peer that is reached through the device, by either family.
func (p path) entries(dev int) (out []netlink.Neigh) {
	mac := macOf(macVXLAN, p.NodeIP)
	if p.link == 0 {
		out = append(out, netlink.Neigh{LinkIndex: dev, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: p.PodCIDR.Addr().AsSlice(), HardwareAddr: mac})
	}
	if p.PodCIDR6.IsValid() {
		out = append(out, netlink.Neigh{LinkIndex: dev, Family: unix.AF_INET6, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: gateway(p.PodCIDR6).AsSlice(), HardwareAddr: mac})
	}
	if len(out) > 0 {
		out = append(out, netlink.Neigh{LinkIndex: dev, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF, IP: p.NodeIP.AsSlice(), HardwareAddr: mac})
	}
	return out
}

func (n *Network) dropEntry(e netlink.Neigh) error {
	if e.Family == unix.AF_BRIDGE {
		e.Flags = netlink.NTF_SELF
	}
	if err := n.home.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the VXLAN entry for %s: %w", e.IP, err)
	}
	return nil
}

func entryKey(e netlink.Neigh) string {
	return fmt.Sprint(e.Family, " ", e.IP, " ", e.HardwareAddr)
}
