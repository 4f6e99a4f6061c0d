package server

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// nodeConns are the connections of the node agents, over which a server calls back: a node needs
// no inbound port.
type nodeConns struct {
	mu     sync.Mutex
	byNode map[string]*rpc.Conn
}

func newNodeConns() *nodeConns { return &nodeConns{byNode: map[string]*rpc.Conn{}} }

// connected keeps a node's newest connection until it ends; it is rpc.Server.Connected.
func (n *nodeConns) connected(c *rpc.Conn) {
	if c.Peer().Role != pki.RoleNode {
		return
	}
	name := c.Peer().Name
	n.mu.Lock()
	n.byNode[name] = c
	n.mu.Unlock()
	<-c.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byNode[name] == c {
		delete(n.byNode, name)
	}
}

func (n *nodeConns) get(node string) (*rpc.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.byNode[node]
	if c == nil {
		return nil, fmt.Errorf("node %q is not connected to this server now", node)
	}
	return c, nil
}

// DialNode opens a stream that carries HTTP/1.1 to the node's handler; it outlives ctx, which bounds the opening only.
func (n *nodeConns) DialNode(ctx context.Context, node string) (net.Conn, error) {
	c, err := n.get(node)
	if err != nil {
		return nil, err
	}
	return c.OpenRaw(ctx, wire.MethodNodeHTTP, &wire.Empty{})
}
