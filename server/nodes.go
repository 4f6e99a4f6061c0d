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
	came   chan struct{} // closed, and replaced, when a node connects
}

func newNodeConns() *nodeConns {
	return &nodeConns{byNode: map[string]*rpc.Conn{}, came: make(chan struct{})}
}

// connected keeps a node's newest connection until it ends; it is rpc.Server.Connected.
func (n *nodeConns) connected(c *rpc.Conn) {
	if c.Peer().Role != pki.RoleNode {
		return
	}
	name := c.Peer().Name
	n.mu.Lock()
	n.byNode[name] = c
	close(n.came)
	n.came = make(chan struct{})
	n.mu.Unlock()
	<-c.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byNode[name] == c {
		delete(n.byNode, name)
	}
}

// get is a node's connection, or nil and a channel that is closed when there is news.
func (n *nodeConns) get(node string) (*rpc.Conn, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byNode[node], n.came
}

// await gives a node a moment to connect: an agent that has just started talks to one server before it talks
// to all, and people read logs as soon as they hear that a pod has ended.
func (n *nodeConns) await(ctx context.Context, node string) (*rpc.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeDialWait)
	defer cancel()
	for {
		c, came := n.get(node)
		if c != nil {
			return c, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, fmt.Errorf("node %q is not connected to this server now", node)
		}
	}
}

// DialNode opens a stream that carries HTTP/1.1 to the node's handler; it outlives ctx, which bounds the opening only.
func (n *nodeConns) DialNode(ctx context.Context, node string) (net.Conn, error) {
	c, err := n.await(ctx, node)
	if err != nil {
		return nil, err
	}
	return c.OpenRaw(ctx, wire.MethodNodeHTTP, &wire.Empty{})
}
