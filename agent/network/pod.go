package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// podLink is the name of a pod's link inside the pod.
const podLink = "eth0"

// loopbackIndex is the index that the kernel gives to lo in every network namespace.
const loopbackIndex = 1

var lockSeed = maphash.MakeSeed()

// lock serialises the work on one pod (and on those few that share its stripe).
func (n *Network) lock(podUID string) *sync.Mutex {
	l := &n.locks[maphash.String(lockSeed, podUID)%podLocks]
	l.Lock()
	return l
}

// Attach gives the pod whose network namespace is at path netns its link, address and default route,
// and returns the address, in clusters of two families followed by that of the second. A pod that has an address keeps it, also in a new namespace. After an
// error the address stays reserved until Attach succeeds, or Detach or Keep releases it.
func (n *Network) Attach(ctx context.Context, podUID, netns string) ([]netip.Addr, error) {
	g := n.ground.Load()
	if g == nil {
		return nil, ErrNoSetup
	}
	if podUID == "" || len(podUID) > uidLenMax || strings.ContainsAny(podUID, " \t\r\n") {
		return nil, fmt.Errorf("attaching a pod to the network: %q is no pod UID", podUID)
	}
	defer n.lock(podUID).Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ns, err := n.home.openPod(netns)
	if err != nil {
		return nil, fmt.Errorf("attaching pod %s to the network: %w", podUID, err)
	}
	defer ns.Close()
	addr, err := n.pool.take(podUID, vethName(podUID))
	if err == nil {
		err = n.plug(g, vethName(podUID), ns, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("attaching pod %s to the network: %w", podUID, err)
	}
	if six := g.second(addr); six.IsValid() {
		return []netip.Addr{addr, six}, nil
	}
	return []netip.Addr{addr}, nil
}

// plug makes the pair and configures the pod's end; each step may have been done before.
func (n *Network) plug(g *ground, name string, ns netns.NsHandle, addr netip.Addr) error {
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket in the pod: %w", err)
	}
	defer pod.Close()
	if err := n.ensurePair(g, name, ns, pod, addr); err != nil {
		return fmt.Errorf("making the link pair: %w", err)
	}
	lo := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: loopbackIndex}}
	if err := pod.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	eth, err := pod.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("finding %s in the pod: %w", podLink, err)
	}
	if err := pod.AddrReplace(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, g.cidr.Bits()))}); err != nil {
		return fmt.Errorf("giving %s address %s: %w", podLink, addr, err)
	}
	if err := pod.LinkSetUp(eth); err != nil {
		return fmt.Errorf("setting %s up: %w", podLink, err)
	}
	via := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway(g.cidr).AsSlice()}
	if err := pod.RouteReplace(via); err != nil {
		return fmt.Errorf("adding the default route: %w", err)
	}
	if g.cidr6.IsValid() {
		return n.plug6(g, &home{ns: ns}, pod, eth, addr)
	}
	return nil
}

// ensurePair adds the pair. One that is there stays if both its ends are what they should be;
// otherwise it belongs to an earlier namespace or address of this pod, and is replaced.
func (n *Network) ensurePair(g *ground, name string, ns netns.NsHandle, pod *netlink.Handle, addr netip.Addr) error {
	err := n.addPair(g, name, ns, addr)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	host, err := n.home.LinkByName(name)
	if missing(err) {
		return fmt.Errorf("the pod has a link %s that is not ours", podLink)
	}
	if err != nil {
		return err
	}
	if n.joined(g, host, pod, addr) {
		return nil
	}
	if _, ours := hostMACAddr(host.Attrs().HardwareAddr); !ours {
		return fmt.Errorf("link %s on the node is not ours", name)
	}
	if err := n.drops.remove(host); err != nil {
		return err
	}
	return n.addPair(g, name, ns, addr)
}

func (n *Network) addPair(g *ground, name string, ns netns.NsHandle, addr netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = name, g.mtu, g.bridge
	attrs.HardwareAddr, attrs.Flags = macOf(macHost, addr), unix.IFF_UP
	// One queue: a queue a core makes the pair slow to create and gains a pod nothing.
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	return n.home.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerTxQLen: -1,
		PeerHardwareAddr: macOf(macPod, addr), PeerNamespace: netlink.NsFd(int(ns))})
}

// joined tells whether host is a sound pair for addr that ends in pod.
func (n *Network) joined(g *ground, host netlink.Link, pod *netlink.Handle, addr netip.Addr) bool {
	a := host.Attrs()
	if !bytes.Equal(a.HardwareAddr, macOf(macHost, addr)) || a.MasterIndex != g.bridge || a.Flags&unix.IFF_UP == 0 {
		return false
	}
	eth, err := pod.LinkByName(podLink)
	return err == nil && eth.Attrs().ParentIndex == a.Index && a.ParentIndex == eth.Attrs().Index &&
		bytes.Equal(eth.Attrs().HardwareAddr, macOf(macPod, addr))
}

// Detach removes the pod's link and releases its address. A pod that has none is no error.
func (n *Network) Detach(ctx context.Context, podUID string) error {
	defer n.lock(podUID).Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return n.detach(podUID, vethName(podUID))
}

// detach takes the link first: an address must not be given away while a link still has it.
func (n *Network) detach(holder, link string) error {
	l, err := n.home.LinkByName(link)
	if err == nil {
		if _, ours := hostMACAddr(l.Attrs().HardwareAddr); ours {
			err = n.drops.remove(l)
		}
	}
	if err != nil && !missing(err) {
		return fmt.Errorf("detaching pod %s from the network: %w", holder, err)
	}
	if err := n.pool.release(holder); err != nil {
		return fmt.Errorf("detaching pod %s from the network: %w", holder, err)
	}
	return nil
}

// Keep releases the addresses and links of all pods that are not in uids. A pod attached since the
// previous Keep is spared this once: the caller's list may be older than it.
func (n *Network) Keep(_ context.Context, uids map[string]bool) {
	links := map[string]bool{}
	for uid := range uids {
		links[vethName(uid)] = true
	}
	for _, holder := range n.pool.strangers(func(h string) bool { return uids[h] || links[h] }) {
		link := vethName(holder)
		if strings.HasPrefix(holder, vethPrefix) && len(holder) == len(link) {
			link = holder // adopted from the kernel: known by its link alone
		}
		if err := n.forget(holder, link); err != nil {
			n.log.Error("a pod that is gone keeps its address for now", "pod", holder, "error", err)
		}
	}
}

func (n *Network) forget(holder, link string) error {
	defer n.lock(holder).Unlock()
	return n.detach(holder, link)
}
