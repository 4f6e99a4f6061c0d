package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	announceInterval = time.Second
	// announceLifetime is how long an address outlives the agent that refreshes it, in seconds. The kernel removes it then, so that of an
	// agent that was killed nothing is left that would answer for an address which is another node's by now.
	announceLifetime = 5
	announceOften    = 5  // a new address is announced with each of its first refreshes, since a packet may be lost,
	announceSeldom   = 10 // and with every tenth later, for neighbours that believed somebody else
)

// Announcer keeps the addresses of services on the link that has the node's address, where the kernel answers those who ask for them by ARP or
// neighbour discovery, and tells the neighbours when an address has come. On a node whose address is loopback nobody is told.
type Announcer struct {
	node    netip.Addr
	log     hclog.Logger
	home    *home
	changed chan struct{} // capacity 1: want is new

	mu   sync.Mutex
	want []netip.Addr // guarded by mu

	held map[netip.Addr]int // refreshes so far; Run's own
}

// NewAnnouncer takes up the network namespace of the caller. Run must be called, and ends it.
func NewAnnouncer(node netip.Addr, log hclog.Logger) (*Announcer, error) {
	h, err := openHome()
	if err != nil {
		return nil, err
	}
	return &Announcer{node: node.Unmap(), log: log, home: h, changed: make(chan struct{}, 1), held: map[netip.Addr]int{}}, nil
}

// Set says which addresses are this node's from now on; those that were and are not named are withdrawn.
func (a *Announcer) Set(addresses []netip.Addr) {
	a.mu.Lock()
	same := slices.Equal(a.want, addresses)
	a.want = slices.Clone(addresses)
	a.mu.Unlock()
	if same {
		return
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Run keeps the addresses until ctx ends and withdraws them then.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.home.close()
	tick := time.NewTicker(announceInterval)
	defer tick.Stop()
	for {
		select {
		case <-a.changed:
		case <-tick.C:
		case <-ctx.Done():
			a.follow(nil)
			return ctx.Err()
		}
		a.mu.Lock()
		want := a.want
		a.mu.Unlock()
		a.follow(want)
	}
}

// follow withdraws what is not wanted, and adds or refreshes what is. What fails is tried again with the next refresh.
func (a *Announcer) follow(want []netip.Addr) {
	if len(want) == 0 && len(a.held) == 0 {
		return
	}
	link, have, err := a.uplink()
	if err != nil {
		a.log.Warn("addresses of services cannot be announced", "error", err)
		return
	}
	for ip := range a.held {
		if !slices.Contains(want, ip) {
			delete(a.held, ip)
			if err := a.home.AddrDel(link, &netlink.Addr{IPNet: hostNet(ip)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				a.log.Warn("the address of a service cannot be withdrawn", "address", ip, "error", err)
			}
		}
	}
	for _, ip := range want {
		if err := a.refresh(link, have, ip); err != nil {
			a.log.Warn("the address of a service cannot be announced", "address", ip, "error", err)
		}
	}
}

// uplink is the link with the node's address, and all addresses of the machine.
func (a *Announcer) uplink() (netlink.Link, []netlink.Addr, error) {
	have, err := a.home.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the node's addresses: %w", err)
	}
	for _, x := range have {
		if ip, ok := netip.AddrFromSlice(x.IP); ok && ip.Unmap() == a.node {
			l, err := a.home.LinkByIndex(x.LinkIndex)
			return l, have, err
		}
	}
	return nil, nil, fmt.Errorf("no link has the node's address %s", a.node)
}

func (a *Announcer) refresh(link netlink.Link, have []netlink.Addr, ip netip.Addr) error {
	if stranger(have, ip) {
		return errors.New("the machine has this address already, and not as a service's: take it out of the pool")
	}
	x := &netlink.Addr{IPNet: hostNet(ip), ValidLft: announceLifetime, PreferedLft: announceLifetime}
	if ip.Is6() {
		x.Flags = unix.IFA_F_NODAD // who had it before may be dead, or late, and must not keep it
	}
	if err := a.home.AddrReplace(link, x); err != nil {
		return err
	}
	n := a.held[ip]
	a.held[ip] = n + 1
	if n < announceOften || n%announceSeldom == 0 {
		return a.tell(link, ip)
	}
	return nil
}

// stranger says whether an address is the machine's own: one that stays, or has a network.
func stranger(have []netlink.Addr, ip netip.Addr) bool {
	return slices.ContainsFunc(have, func(x netlink.Addr) bool {
		got, _ := netip.AddrFromSlice(x.IP)
		bits, _ := x.Mask.Size()
		return got.Unmap() == ip && (bits != ip.BitLen() || x.Flags&unix.IFA_F_PERMANENT != 0)
	})
}

func hostNet(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

// tell has neighbours and switches send to this node from now on what is for an address.
func (a *Announcer) tell(link netlink.Link, ip netip.Addr) error {
	mac := link.Attrs().HardwareAddr
	if len(mac) != 6 || link.Attrs().Flags&net.FlagLoopback != 0 {
		return nil
	}
	if ip.Is6() {
		return a.home.run(func() error { return advertise(link.Attrs().Index, mac, ip) })
	}
	// An ARP announcement (RFC 5227).
	return a.home.run(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // 0: it receives nothing
		if err != nil {
			return fmt.Errorf("opening a packet socket: %w", err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: link.Attrs().Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
		if err := unix.Sendto(fd, announcement(mac, ip), 0, to); err != nil {
			return fmt.Errorf("sending an ARP announcement: %w", err)
		}
		return nil
	})
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

// announcement is an ARP request for one's own address.
func announcement(mac net.HardwareAddr, ip netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths of their addresses, request
	b = append(b, mac...)
	b = append(b, ip.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, ip.AsSlice()...)
}

// advertise sends an unsolicited neighbour advertisement (RFC 4861, 7.2.6) from the address itself.
func advertise(link int, mac net.HardwareAddr, ip netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("opening a socket for neighbour advertisements: %w", err)
	}
	defer unix.Close(fd)
	// Neighbours pass over advertisements that may have come through a router.
	err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, link), unix.Bind(fd, &unix.SockaddrInet6{Addr: ip.As16()}))
	if err != nil {
		return fmt.Errorf("preparing a neighbour advertisement: %w", err)
	}
	everybody := &unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16(), ZoneId: uint32(link)}
	if err := unix.Sendto(fd, advertisement(mac, ip), 0, everybody); err != nil {
		return fmt.Errorf("sending a neighbour advertisement: %w", err)
	}
	return nil
}

// advertisement overrides what neighbours believed. The kernel fills in the checksum.
func advertisement(mac net.HardwareAddr, ip netip.Addr) []byte {
	const router, override, targetLink = 0x80, 0x20, 2 // nodes forward, and say so in their other answers
	b := append([]byte{neighbourAdvertisement, 0, 0, 0, router | override, 0, 0, 0}, ip.AsSlice()...)
	return append(append(b, targetLink, 1), mac...)
}
