package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"syscall"

	"github.com/peapod-sh/peapod/rpc/pki"
)

// The protocols that share the port, told apart by ALPN.
const (
	protocolRPC  = "rpc"
	protocolRaft = "raft"
	protocolJoin = "join"
)

// Dialer makes connections. Methods is what the other side may call over them; nil is nothing.
type Dialer struct {
	Identity *pki.Identity
	Methods  *Methods
	Logger   hclog.Logger
}

// Dial connects to address (host:port) and insists on meeting whom it expects; an empty name is anybody of that
// role. ctx bounds the dialling only. The connection must be closed.
func (d *Dialer) Dial(ctx context.Context, address string, expect Peer) (*Conn, error) {
	raw, err := dialTLS(ctx, address, d.Identity.ClientConfig(expect, protocolRPC))
	if err != nil {
		return nil, fmt.Errorf("dialling %s at %s: %w", expect, address, err)
	}
	peer, err := d.Identity.PeerOf(raw.ConnectionState())
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("dialling %s at %s: %w", expect, address, err)
	}
	conn, err := newConn(context.WithoutCancel(ctx), raw, peer, d.Methods, true, logger(d.Logger))
	if err != nil {
		raw.Close()
		return nil, err
	}
	go conn.serve() // Conn.Wait waits for it
	return conn, nil
}

func logger(l hclog.Logger) hclog.Logger {
	if l == nil {
		return hclog.NewNullLogger()
	}
	return l
}

// dialTLS returns after the handshake, and insists on the protocol.
func dialTLS(ctx context.Context, address string, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: tcpKeepAlive, Control: setUnackedMax}
	tcp, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(tcp, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, err
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != config.NextProtos[0] {
		conn.Close()
		return nil, fmt.Errorf("the other side does not speak %q: is this the port of a Peapod server?", config.NextProtos[0])
	}
	return conn, nil
}

// tcpKeepAlive finds a silent end even when nothing is being sent.
var tcpKeepAlive = net.KeepAliveConfig{Enable: true, Idle: unackedMax, Interval: unackedMax / 3, Count: 3}

func setUnackedMax(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedMax.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
