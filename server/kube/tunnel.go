package kube

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// tunnelRefusalMax bounds what is read of a node's reason for not connecting.
const tunnelRefusalMax = 2048

// dialFrom opens a TCP connection from a node to an address that the node reaches, such as a pod's. Servers have no part
// in the pod network, so it goes over the connection that the node's agent keeps to them (GET /dial/ADDRESS, upgraded).
func dialFrom(ctx context.Context, nodes NodeTransport, node, address string) (net.Conn, error) {
	conn, err := nodes.DialNode(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("reaching node %s: %w", node, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	tunnel, err := upgrade(conn, node, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return tunnel, nil
}

func upgrade(conn net.Conn, node, address string) (net.Conn, error) {
	q := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: node, Path: "/dial/" + address}, Host: node, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"tcp"}}}
	if err := q.Write(conn); err != nil {
		return nil, fmt.Errorf("asking node %s to connect to %s: %w", node, address, err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, q)
	if err != nil {
		return nil, fmt.Errorf("asking node %s to connect to %s: %w", node, address, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(resp.Body, tunnelRefusalMax)) // a half of the reason is better than none
		return nil, fmt.Errorf("node %s: %s", node, strings.TrimSpace(string(why)))
	}
	return &tunnel{conn, in}, nil
}

// tunnel reads what came with the answer first.
type tunnel struct {
	net.Conn
	in *bufio.Reader
}

func (t *tunnel) Read(b []byte) (int, error) { return t.in.Read(b) }

// CloseWrite passes a half-close on.
func (t *tunnel) CloseWrite() error {
	if h, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}
