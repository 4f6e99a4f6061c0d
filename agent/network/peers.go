package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// peers is the list of other nodes and the goroutine that makes routes of it.
type peers struct {
	mu    sync.Mutex
	list  []Peer
	known bool // SetPeers was called; before that, an earlier agent's routes stay

	wake chan struct{}
	stop chan struct{} // closed to end the goroutine; nil while there is none
	done chan struct{}
}

// SetPeers replaces the list of other nodes. It returns at once; routes follow within milliseconds
// after Setup. What fails is logged and tried again.
func (n *Network) SetPeers(list []Peer) {
	if len(list) > peersMax {
		n.log.Error("too many nodes: the rest gets no routes", "nodes", len(list), "max", peersMax)
		list = list[:peersMax]
	}
	n.peers.mu.Lock()
	n.peers.list, n.peers.known = slices.Clone(list), true
	n.peers.mu.Unlock()
	select {
	case n.peers.wake <- struct{}{}:
	default:
	}
}

// startPeers is called under n.mu.
func (n *Network) startPeers() {
	select {
	case n.peers.wake <- struct{}{}:
	default:
	}
	if n.peers.stop != nil {
		return
	}
	n.peers.stop, n.peers.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(n.peers.done)
		n.followPeers(n.peers.stop)
	}()
}

// stopPeers ends the goroutine and waits for it; called under n.mu.
func (n *Network) stopPeers() {
	if n.peers.stop != nil {
		close(n.peers.stop)
		<-n.peers.done
		n.peers.stop = nil
	}
}

// followPeers applies the newest list when it changes, soon again after an error, and now and then,
// for a link that goes down takes its routes with it. The same error is logged once.
func (n *Network) followPeers(stop <-chan struct{}) {
	said, timer := "", time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-n.peers.wake:
		case <-timer.C:
		}
		pause, err := peersCheckEvery, n.syncPeers()
		if err != nil {
			pause = peersRetryAfter
			if err.Error() != said {
				n.log.Error("routes to other nodes are incomplete; trying again", "error", err)
			}
		} else if said != "" {
			n.log.Info("routes to other nodes are complete again")
		}
		said = text(err)
		timer.Reset(pause)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// syncPeers brings routes, neighbours and forwarding entries to what the list says.
func (n *Network) syncPeers() error {
	g := n.ground.Load()
	n.peers.mu.Lock()
	list, known := n.peers.list, n.peers.known
	n.peers.mu.Unlock()
	if g == nil || !known {
		return nil
	}
	good, bad := n.sound(g, list)
	paths, err := n.paths(good)
	bad = errors.Join(bad, err)
	tunnelled := slices.ContainsFunc(paths, func(p path) bool { return p.link == 0 || g.cidr6.IsValid() && p.PodCIDR6.IsValid() })
	dev := 0
	if tunnelled {
		if dev, err = n.ensureVXLAN(g); err != nil {
			return errors.Join(bad, err)
		}
		bad = errors.Join(bad, n.syncVXLAN(dev, paths))
	}
	bad = errors.Join(bad, n.syncRoutes(g, dev, paths), n.syncRoutes6(g, dev, paths))
	if !tunnelled {
		bad = errors.Join(bad, n.removeVXLAN())
	}
	return bad
}

// sound leaves out ourselves, nodes without a CIDR, and those whose entry would harm others.
func (n *Network) sound(g *ground, list []Peer) ([]Peer, error) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	var errs []error
	taken := map[netip.Prefix]string{g.cidr: n.cfg.NodeName}
	good := list[:0]
	for _, p := range list {
		if p.Name == n.cfg.NodeName || !p.PodCIDR.IsValid() {
			continue
		}
		p.NodeIP = p.NodeIP.Unmap()
		if err := n.checkPeer(g, p, taken); err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", p.Name, err))
			continue
		}
		taken[p.PodCIDR] = p.Name
		good = append(good, p)
	}
	return good, errors.Join(errs...)
}

func (n *Network) checkPeer(g *ground, p Peer, taken map[netip.Prefix]string) error {
	switch c := p.PodCIDR; {
	case !p.NodeIP.Is4() || p.NodeIP == n.cfg.NodeIP:
		return fmt.Errorf("address %s is not another IPv4 node's", p.NodeIP)
	case c != c.Masked() || !c.Addr().Is4() || c.Bits() < n.cfg.ClusterCIDR.Bits() || !n.cfg.ClusterCIDR.Contains(c.Addr()):
		return fmt.Errorf("pod CIDR %s is no network within %s", c, n.cfg.ClusterCIDR)
	case c.Overlaps(g.cidr):
		return fmt.Errorf("pod CIDR %s overlaps this node's %s", c, g.cidr)
	case taken[c] != "":
		return fmt.Errorf("pod CIDR %s is node %s's already", c, taken[c])
	}
	return nil
}
