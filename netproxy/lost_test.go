package netproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// TestConnectionsToALostMachineEnd: Invariant 152. The client of a machine that is lost learns of it by a reset and not by waiting, whether or not the endpoint is still named and in which
// order that is heard. Connections to other machines live on.
func TestConnectionsToALostMachineEnd(t *testing.T) {
	for i := 1; i <= 2; i++ {
		serve(t, backendAddr(i), echoAfter(fmt.Sprint(i)))
	}
	both, other := table(TCP, endpoints(backendAddr(1), backendAddr(2))), table(TCP, endpoints(backendAddr(2)))
	dead := netip.MustParseAddrPort(backendAddr(1)).Addr()
	prefix := netip.PrefixFrom(dead, dead.BitLen())
	with := func(t Table, lost ...netip.Prefix) *Table { t.Lost = lost; return &t }
	for name, swaps := range map[string][]*Table{
		"together":            {with(*other, prefix)},
		"the endpoint first":  {with(*other), with(*other, prefix)},
		"the endpoint is out": {with(*both, prefix)},
		"more are lost":       {with(*both, netip.MustParsePrefix("10.99.0.0/24")), with(*other, netip.MustParsePrefix("10.99.0.0/24"), prefix)},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, nil)
			p.Swap(both)
			conns := map[string]net.Conn{}
			for len(conns) < 2 {
				c, who := greet(t)
				if conns[who] != nil {
					c.Close()
					continue
				}
				conns[who] = c
				defer c.Close()
			}
			for _, table := range swaps {
				p.Swap(table)
			}
			if _, err := conns["1"].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client of a lost machine sees %v, want a reset", err)
			}
			if err := lives(conns["2"]); err != nil {
				t.Errorf("the client of a machine that lives: %v", err)
			}
		})
	}
}

// echoAfter tells its name and then echoes.
func echoAfter(name string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = c.Write([]byte(name))
		_, _ = io.Copy(c, c)
	}
}

// greet connects and returns which endpoint it is.
func greet(t *testing.T) (net.Conn, string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", vip, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return c, string(b)
}

func lives(c net.Conn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}
