package node

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/share"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// layersAnnotation of a Node object says at which HOST:PORT other nodes get layers of images from it.
const layersAnnotation = "peapod.io/layers-address"

// openShare opens the port. One that is taken, as by another node on the same machine, is no reason not to start.
func (n *node) openShare(ctx context.Context) error {
	if n.cfg.PeerPort == 0 {
		return nil
	}
	var err error
	if n.sharing, err = rpc.Listen(ctx, n.at(n.cfg.PeerPort)); err != nil {
		n.log.Warn("giving layers to other nodes at another port", "error", err)
		if n.sharing, err = rpc.Listen(ctx, n.at(0)); err != nil {
			return err
		}
	}
	n.members = &members{}
	n.share = share.New(share.Config{Identity: n.cfg.Identity, BytesPerSecond: n.cfg.Images.GiveBytesPerSecond, Logger: n.log.Named("share"),
		Members: n.members.alive, Blobs: func() share.Blobs {
			if n.images == nil {
				return nil
			}
			return n.images
		}})
	return nil
}

func (n *node) at(port int) string {
	return net.JoinHostPort(n.cfg.Address.String(), strconv.Itoa(port))
}

func (n *node) runShare(ctx context.Context) error {
	if n.share == nil {
		return nil
	}
	return n.share.Run(ctx, n.sharing)
}

// members are the nodes that give layers, as the watch of the Node objects tells of them.
type members struct {
	mu    sync.Mutex
	known map[string]share.Member
}

func (m *members) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = nil
}

// alive lists those that are Ready.
func (m *members) alive() []share.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]share.Member, 0, len(m.known))
	for _, x := range m.known {
		out = append(out, x)
	}
	return out
}

func (m *members) event(e *wire.Event) error {
	o := &corev1.Node{}
	if e.Type != wire.EventDeleted {
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, e.Name)
	if at, ok := layersAddress(o); ok {
		if m.known == nil {
			m.known = map[string]share.Member{}
		}
		m.known[e.Name] = share.Member{Name: e.Name, Address: at}
	}
	return nil
}

// layersAddress is where a node gives layers; false if it does not, or is not Ready. Only an address of the node itself
// counts.
func layersAddress(o *corev1.Node) (string, bool) {
	at, err := netip.ParseAddrPort(o.Annotations[layersAnnotation])
	if err != nil {
		return "", false
	}
	own, ready := false, false
	for _, a := range o.Status.Addresses {
		own = own || a.Type == corev1.NodeInternalIP && a.Address == at.Addr().String()
	}
	for _, c := range o.Status.Conditions {
		ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	return at.String(), own && ready
}
