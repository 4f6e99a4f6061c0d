package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport carries gossip over UDP, and over TCP what is large. Unlike memberlist's own it allocates per packet only the
// bytes received, and it shows what is sent to the sniffer.
type transport struct {
	udp     *net.UDPConn
	tcp     *net.TCPListener
	address netip.AddrPort // bound
	packets chan *memberlist.Packet
	streams chan net.Conn
	sniff   func(packet []byte)
	done    chan struct{}
	once    sync.Once
	work    sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen binds both protocols to one port; with port 0 the kernel chooses.
func listen(bind string, port int, sniff func([]byte)) (*transport, error) {
	ip, err := netip.ParseAddr(bind)
	if err != nil {
		return nil, fmt.Errorf("gossip needs an IP address to bind to: %w", err)
	}
	attempts := 1
	if port == 0 {
		attempts = portAttempts
	}
	var t *transport
	for range attempts {
		if t, err = listenAt(netip.AddrPortFrom(ip, uint16(port)), sniff); err == nil {
			t.work.Go(t.readPackets)
			t.work.Go(t.acceptStreams)
			return t, nil
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d at %s is taken: stop the process that uses it, or choose another gossip port: %w", port, bind, err)
	}
	return nil, fmt.Errorf("opening the gossip port: %w", err)
}

func listenAt(at netip.AddrPort, sniff func([]byte)) (*transport, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	at = netip.AddrPortFrom(at.Addr(), tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		tcp.Close()
		return nil, err
	}
	_ = udp.SetReadBuffer(socketBufferBytes) // the kernel gives what it allows
	return &transport{udp: udp, tcp: tcp, address: at, sniff: sniff, packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn), done: make(chan struct{})}, nil
}

// FinalAdvertiseAddr is where others reach us: what was configured, else what we are bound to.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	address := t.address.Addr()
	if ip != "" {
		parsed, err := netip.ParseAddr(ip)
		if err != nil {
			return nil, 0, fmt.Errorf("gossip needs an IP address to advertise: %w", err)
		}
		address = parsed
	}
	if address.IsUnspecified() {
		return nil, 0, fmt.Errorf("gossip bound to %s must be told which address to advertise", t.address.Addr())
	}
	if ip == "" || port == 0 {
		port = int(t.address.Port())
	}
	return net.IP(address.Unmap().AsSlice()), port, nil
}

// WriteTo sends one packet.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: address})
}

// WriteToAddress sends one packet.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	t.sniff(b)
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("sending gossip: %w", err)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// DialTimeout opens a stream.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", address, timeout)
}

// DialAddressTimeout opens a stream.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// PacketCh has the packets received.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh has the streams accepted.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes the port and waits for the readers.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		close(t.done)
		t.tcp.Close()
		t.udp.Close()
	})
	t.work.Wait()
	return nil
}

func (t *transport) readPackets() {
	buffer := make([]byte, maxPacketBytes)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // an ICMP error about a packet that we sent
		}
		packet := &memberlist.Packet{Buf: append([]byte(nil), buffer[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case t.packets <- packet:
		case <-t.done:
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		conn, err := t.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, mostly
			select {
			case <-t.done:
			case <-time.After(gossipInterval):
			}
			continue
		}
		select {
		case t.streams <- conn:
		case <-t.done:
			conn.Close()
			return
		}
	}
}

// hostPort joins an address and a port.
func hostPort(ip net.IP, port uint16) string {
	return net.JoinHostPort(ip.String(), strconv.Itoa(int(port)))
}
