package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for namespaces by name.
const netnsDir = "/run/netns"

// errTaken says that a bridge of that name came up since we looked.
var errTaken = errors.New("the bridge's name is taken")

// makeBridge makes the lab's bridge with the host's address on it. Its alias says whose it is.
func makeBridge(lab, name string, subnets []netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); errors.Is(err, unix.EEXIST) {
		return errTaken
	} else if err != nil {
		return fmt.Errorf("making bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetAlias(bridge, alias(lab)); err != nil {
		return fmt.Errorf("marking bridge %s: %w", name, err)
	}
	for _, s := range subnets {
		if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(gateway(s), s.Bits()), Flags: doubtless(s)}); err != nil {
			return fmt.Errorf("giving bridge %s its address: %w", name, err)
		}
	}
	return netlink.LinkSetUp(bridge)
}

// doubtless spares an IPv6 address the second in which the kernel asks whether somebody else has it.
func doubtless(subnet netip.Prefix) int {
	if subnet.Addr().Is4() {
		return 0
	}
	return unix.IFA_F_NODAD
}

func alias(lab string) string { return "peapod-lab " + lab }

// removeBridge removes the lab's bridge, unless it is somebody else's.
func removeBridge(lab, name string) error {
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for bridge %s: %w", name, err)
	}
	if a := link.Attrs().Alias; a != alias(lab) && a != "" {
		return nil
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("removing bridge %s: %w", name, err)
	}
	return nil
}

// connect makes a node's namespace and joins it to the bridge.
func connect(n Node, bridge string, subnets []netip.Prefix) error {
	ns, err := makeNamespace(n.Namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := makeLink(n, bridge, ns); err != nil {
		return fmt.Errorf("connecting %s: %w", n.Name, err)
	}
	if err := configure(n, ns, subnets); err != nil {
		return fmt.Errorf("configuring the network of %s: %w", n.Name, err)
	}
	return nil
}

// makeNamespace makes a network namespace that `ip netns` knows.
func makeNamespace(name string) (netns.NsHandle, error) {
	if err := removeNamespace(name); err != nil { // left by a lab that was killed
		return netns.None(), err
	}
	ns := netns.None()
	err := onThread(func() (err error) {
		ns, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return ns, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	return ns, nil
}

func removeNamespace(name string) error {
	file := filepath.Join(netnsDir, name)
	for {
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			break // nothing is mounted there any more
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing network namespace %s: %w", name, err)
	}
	return nil
}

// makeLink makes a veth pair with one end on the bridge and eth0 in the namespace.
func makeLink(n Node, bridge string, ns netns.NsHandle) error {
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("finding bridge %s: %w", bridge, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = n.Link, master.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("making link %s: %w", n.Link, err)
	}
	return netlink.LinkSetUp(veth)
}

// configure gives the namespace its addresses, loopback and default routes.
func configure(n Node, ns netns.NsHandle, subnets []netip.Prefix) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	last := n.Address.AsSlice()[3]
	for _, s := range subnets {
		if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(hostAddress(s, last), s.Bits()), Flags: doubtless(s)}); err != nil {
			return err
		}
	}
	for _, l := range []netlink.Link{lo, eth} {
		if err := h.LinkSetUp(l); err != nil {
			return err
		}
	}
	for _, s := range subnets {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway(s).AsSlice()}); err != nil {
			return err
		}
	}
	return nil
}

// setLink takes a node's link down, as if its cable were pulled, or up again.
func setLink(n Node, up bool) error {
	link, err := netlink.LinkByName(n.Link)
	if err != nil {
		return fmt.Errorf("finding the link of %s: %w", n.Name, err)
	}
	if up {
		return netlink.LinkSetUp(link)
	}
	return netlink.LinkSetDown(link)
}

// linkUp tells whether a node's link is up.
func linkUp(n Node) bool {
	link, err := netlink.LinkByName(n.Link)
	return err == nil && link.Attrs().Flags&net.FlagUp != 0
}

// removeLink deletes a veth pair by its host's end.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing link %s: %w", name, err)
	}
	return nil
}

func isNotFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

// onThread runs f on a thread of its own that ends with f, so that f may leave it in another namespace
// or cgroup. It never is the process's first thread, which cannot end and stands for the process.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f) // held here, the first thread cannot be chosen again
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// awaitGone waits until a link has disappeared, which the kernel does a moment after its namespace.
func awaitGone(name string) {
	for range 200 {
		if !linkExists(name) {
			return
		}
		time.Sleep(cgroupPoll)
	}
}
