package netproxy

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Datagrams leave as they came, whatever of them travelled as one, on a link that carries all of them whole and on one that
// does not.
// Invariant 191.
func TestTrainsKeepDatagramsApart(t *testing.T) {
	for _, mtu := range []int{65536, 1500} {
		setMTU(t, mtu)
		in, sink := listenPacket(t), listenPacket(t)
		from, err := net.Dial("udp", in.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		out, err := net.Dial("udp", sink.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		b := newBatch()
		defer b.release()
		rapid.Check(t, func(t *rapid.T) {
			sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 7, 64, 64, 64, 64, 1200, 1200, 1400, 9000, 30_000}), 1, datagramBatch).Draw(t, "sizes")
			var sent [][]byte
			for i, n := range sizes {
				sent = append(sent, bytes.Repeat([]byte{byte(i)}, n))
				if _, err := from.Write(sent[i]); err != nil {
					t.Fatal(err)
				}
			}
			n, e := b.receive(fdOf(in))
			if e != 0 || n != len(sizes) {
				t.Fatalf("%d datagrams of %d came: %v", n, len(sizes), e)
			}
			if size, e := b.send(fdOf(out.(*net.UDPConn)), 0, n, nil); e != 0 || size != len(bytes.Join(sent, nil)) {
				t.Fatalf("%d bytes of %d were sent: %v", size, len(bytes.Join(sent, nil)), e)
			}
			got := make([]byte, datagramBytes)
			for i := range sent {
				_ = sink.SetReadDeadline(time.Now().Add(patience))
				if n, err := sink.Read(got); err != nil || !bytes.Equal(got[:n], sent[i]) {
					t.Fatalf("datagram %d of %v has %d bytes, %v", i, sizes, n, err)
				}
			}
		})
	}
}

// Neighbours of one size, and a shorter one behind them, travel together; nothing else does.
func TestAlike(t *testing.T) {
	for _, c := range []struct {
		sizes []uint64
		want  int
	}{
		{[]uint64{64}, 1},
		{[]uint64{64, 64, 64}, 3},
		{[]uint64{64, 64, 10, 64}, 3},
		{[]uint64{10, 64}, 1},
		{[]uint64{64, 64, 65}, 2},
		{[]uint64{0, 0}, 1},
		{[]uint64{64, 64, 0}, 2},
		{[]uint64{30_000, 30_000, 30_000}, 2},
	} {
		b := &batch{}
		for i, n := range c.sizes {
			b.vectors[i].Len = n
		}
		if got := b.alike(0, len(c.sizes)); got != c.want {
			t.Errorf("%v: %d, want %d", c.sizes, got, c.want)
		}
	}
}

func setMTU(t *testing.T, mtu int) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	before := lo.Attrs().MTU
	t.Cleanup(func() { _ = netlink.LinkSetMTU(lo, before) })
	if err := netlink.LinkSetMTU(lo, mtu); err != nil {
		t.Fatal(err)
	}
}

func listenPacket(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadBuffer(8 << 20)
	rawSetInt(fdOf(c), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	return c
}

func fdOf(c *net.UDPConn) (fd int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	_ = raw.Control(func(f uintptr) { fd = int(f) })
	return fd
}
