package server

import (
	"context"
	"net"
	"net/http"
	"sync"

	"fmt"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// nodeConns are the connections of the node agents, over which a server calls back: a node needs
// no inbound port.
type nodeConns struct {
	mu     sync.Mutex
	byNode map[string]*nodeConn
}

type nodeConn struct {
	conn      *rpc.Conn
	transport *http.Transport
}

func newNodeConns() *nodeConns { return &nodeConns{byNode: map[string]*nodeConn{}} }

// connected keeps a node's newest connection until it ends; it is rpc.Server.Connected.
func (n *nodeConns) connected(c *rpc.Conn) {
	if c.Peer().Role != pki.RoleNode {
		return
	}
	name := c.Peer().Name
	mine := &nodeConn{conn: c, transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return openNode(ctx, c) },
		DisableCompression: true,
		MaxIdleConns:       2,
	}}
	n.mu.Lock()
	n.byNode[name] = mine
	n.mu.Unlock()
	<-c.Done()
	mine.transport.CloseIdleConnections()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byNode[name] == mine {
		delete(n.byNode, name)
	}
}

// openNode opens a bare stream to the node's HTTP handler; it outlives ctx, which bounds the opening only.
func openNode(ctx context.Context, c *rpc.Conn) (net.Conn, error) {
	return c.OpenRaw(ctx, wire.MethodNodeHTTP, &wire.Empty{})
}

func (n *nodeConns) get(node string) (*nodeConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.byNode[node]
	if c == nil {
		return nil, fmt.Errorf("node %q is not connected to this server now", node)
	}
	return c, nil
}

// Dial opens a stream that carries HTTP/1.1 to the node's handler.
func (n *nodeConns) Dial(ctx context.Context, node string) (net.Conn, error) {
	c, err := n.get(node)
	if err != nil {
		return nil, err
	}
	return openNode(ctx, c.conn)
}

// RoundTripper sends plain HTTP requests to the node's handler; the URL's host does not matter.
func (n *nodeConns) RoundTripper(node string) (http.RoundTripper, error) {
	c, err := n.get(node)
	if err != nil {
		return nil, err
	}
	return c.transport, nil
}
