package netproxy

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

const (
	inside  = "NETPROXY_TEST_NAMESPACE"
	asProxy = "NETPROXY_TEST_PROXY"
)

// TestMain runs the whole test process in a network namespace of its own, which stands for a node. All that the tests
// add to it (routes, addresses, links) ends with the process.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(reexec())
	}
	if os.Getenv(asProxy) != "" {
		os.Exit(proxyProcess())
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the namespace:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "entering a network namespace (the tests need root):", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

const (
	nodeIP    = "10.10.0.1"
	serviceIP = "10.96.0.0/16"
)

// furnish gives the node its address and the addresses of its endpoints, 10.20.0.1 to 10.20.0.8.
func furnish() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	addrs := []string{nodeIP + "/32", "fd00:20::1/128"}
	for i := 1; i <= 8; i++ {
		addrs = append(addrs, fmt.Sprintf("10.20.0.%d/32", i))
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return err
		}
	}
	return nil
}

// blackHole makes an address swallow whatever is sent to it, as that of a lost machine does, until the test ends.
func blackHole(t *testing.T, addr string) {
	t.Helper()
	name := "hole" + addr[len(addr)-1:]
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	dst, err := netlink.ParseIPNet(addr + "/32")
	if err != nil {
		t.Fatal(err)
	}
	// A neighbour that is known but does not exist: no resolution fails, the packets just go nowhere.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
		t.Fatal(err)
	}
	err = netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: dst.IP, State: netlink.NUD_PERMANENT, HardwareAddr: []byte{2, 0, 0, 0, 0, 1},
	})
	if err != nil {
		t.Fatal(err)
	}
}
