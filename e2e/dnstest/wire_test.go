package dnstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// within calls f on a thread of the network namespace. Sockets that it opens stay there.
func within(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() { // its thread ends with it, since it is not unlocked
		runtime.LockOSThread()
		file, err := os.Open("/run/netns/" + namespace)
		if err != nil {
			done <- err
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// exchange asks the cluster's DNS for one record and writes the first that has the type, or the code if there is none.
func exchange(name string, kind dnsmessage.Type) (string, error) {
	c, err := net.Dial("udp", "10.43.0.10:53")
	if err != nil {
		return "", err
	}
	defer c.Close()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		return "", err
	}
	if _, err := c.Write(b); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 1500)
	n, err := c.Read(answer)
	if err != nil {
		return "", err
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer[:n]); err != nil {
		return "", err
	}
	if m.RCode == dnsmessage.RCodeNameError {
		return "NXDOMAIN", nil
	}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			return "A " + net.IP(body.A[:]).String(), nil
		case *dnsmessage.SRVResource:
			return fmt.Sprintf("SRV %d %s", body.Port, strings.TrimSuffix(body.Target.String(), ".")), nil
		case *dnsmessage.PTRResource:
			return "PTR " + strings.TrimSuffix(body.PTR.String(), "."), nil
		}
	}
	return m.RCode.String(), nil
}

// resolver answers one name with an address, at an address of a network namespace, until the test ends. Other names are not.
func resolver(t *testing.T, namespace, at, address, name string) {
	t.Helper()
	var conn net.PacketConn
	if err := within(namespace, func() (err error) { conn, err = net.ListenPacket("udp", at); return err }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				reply(conn, from, b[:n], address, name)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
}

func reply(conn net.PacketConn, to net.Addr, question []byte, address, name string) {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	switch {
	case !strings.EqualFold(q.Name.String(), name):
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 30},
			Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(address).To4())}}}
	}
	if b, err := m.Pack(); err == nil {
		_, _ = conn.WriteTo(b, to)
	}
}
