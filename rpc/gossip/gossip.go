package gossip

import (
	"errors"
	"fmt"
	"log"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
)

// Config of a member.
type Config struct {
	Name string // unique in the cluster; best with the role in it, if a process is both server and node
	Role string // up to 63 bytes
	Meta []byte // up to MaxMetaBytes, for the others to see

	BindAddr string // an IP address
	BindPort int    // 0: the kernel chooses
	// AdvertiseAddr is the IP address at which others reach this member; "" is BindAddr.
	AdvertiseAddr string
	Key           []byte // KeyBytes, the cluster's
	Logger        hclog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Name == "":
		return errors.New("gossip needs a name")
	case len(c.Key) != KeyBytes:
		return fmt.Errorf("the gossip key has %d bytes, not %d", len(c.Key), KeyBytes)
	case len(c.Role) > maxRoleBytes || len(c.Meta) > MaxMetaBytes:
		return fmt.Errorf("gossip takes a role of up to %d bytes and meta of up to %d", maxRoleBytes, MaxMetaBytes)
	}
	return nil
}

// Gossip is this process as a member. Safe for use by many goroutines.
type Gossip struct {
	name      string
	view      *view
	list      *memberlist.Memberlist
	transport *transport
	rejoin    rejoin
}

// Start opens the port and begins to gossip, alone until Join. Close must be called.
func Start(c Config) (*Gossip, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	g := &Gossip{name: c.Name, view: newView(), rejoin: rejoin{logger: c.Logger, targets: map[string]*target{}}}
	sniffer, err := newSniffer(c.Key, g.view.claimed)
	if err != nil {
		return nil, err
	}
	if g.transport, err = listen(c.BindAddr, c.BindPort, sniffer.packet); err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(g.config(c)); err != nil {
		_ = g.transport.Shutdown()
		return nil, fmt.Errorf("starting gossip: %w", err)
	}
	return g, nil
}

func (g *Gossip) config(c Config) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name, m.Transport = c.Name, g.transport
	m.AdvertiseAddr, m.AdvertisePort = c.AdvertiseAddr, int(g.transport.address.Port())
	m.BindPort = m.AdvertisePort
	m.SecretKey = c.Key
	m.ProbeInterval, m.ProbeTimeout, m.IndirectChecks = probeInterval, probeTimeout, indirectChecks
	m.GossipInterval, m.GossipNodes, m.GossipToTheDeadTime = gossipInterval, gossipNodes, gossipToTheDead
	m.SuspicionMult, m.SuspicionMaxTimeoutMult = suspicionMult(1), 1
	m.RetransmitMult, m.AwarenessMaxMultiplier = retransmitMult, awarenessMultiplier
	m.TCPTimeout, m.PushPullInterval = streamTimeout, pushPullInterval
	m.DeadNodeReclaimTime, m.EnableCompression = deadReclaim, false
	m.UDPBufferSize, m.HandoffQueueDepth = udpBufferBytes, handoffDepth
	m.LogOutput, m.Logger = nil, log.New(&logWriter{logger: c.Logger, now: time.Now}, "", 0)
	m.Delegate = meta(encodeMeta(c.Role, c.Meta))
	m.Events = &watcher{view: g.view, config: m}
	return m
}

// Address is where others reach this member, host:port.
func (g *Gossip) Address() string {
	n := g.list.LocalNode()
	return hostPort(n.Addr, n.Port)
}

// Join meets the members at addresses (host:port) and remembers them for Run. It fails if none could be reached.
func (g *Gossip) Join(addresses []string) error {
	g.rejoin.seed(addresses)
	if _, err := g.list.Join(addresses); err != nil {
		return fmt.Errorf("joining the gossip: %w", err)
	}
	return nil
}

// State is what this member believes of another. It is cheap.
func (g *Gossip) State(name string) State { return g.view.state(name) }

// Members are all that are known, this one and the dead included, in no order.
func (g *Gossip) Members() []Member { return g.view.list(func(State) bool { return true }) }

// Events tells changes of all members, this one included. A slow reader loses events, and is told so.
func (g *Gossip) Events() <-chan Event { return g.view.events }

// Forget removes a dead member that is no longer part of the cluster, so that nobody looks for it.
func (g *Gossip) Forget(name string) { g.view.forget(name) }

// Leave says goodbye, so that the others see Left and not a death. It waits up to timeout for that to be sent. Close still must be called.
func (g *Gossip) Leave(timeout time.Duration) error {
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("leaving the gossip: %w", err)
	}
	return nil
}

// Close ends gossip without a goodbye.
func (g *Gossip) Close() error { return g.list.Shutdown() }

// meta is the little that this member tells of itself; it uses nothing else of memberlist's Delegate.
type meta []byte

var _ memberlist.Delegate = meta(nil)

func (m meta) NodeMeta(int) []byte             { return m }
func (m meta) NotifyMsg([]byte)                {}
func (m meta) GetBroadcasts(int, int) [][]byte { return nil }
func (m meta) LocalState(bool) []byte          { return nil }
func (m meta) MergeRemoteState([]byte, bool)   {}

// encodeMeta is the role's length, the role, and the rest.
func encodeMeta(role string, rest []byte) []byte {
	return append(append([]byte{byte(len(role))}, role...), rest...)
}

func decodeMeta(b []byte) (role string, rest []byte) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return "", nil
	}
	end := 1 + int(b[0])
	return string(b[1:end]), append([]byte(nil), b[end:]...)
}

// watcher is called under memberlist's lock. That is also when its suspicion multiplier may be changed: it is read under
// the same lock.
type watcher struct {
	view   *view
	config *memberlist.Config
}

var _ memberlist.EventDelegate = (*watcher)(nil)

func (w *watcher) NotifyJoin(n *memberlist.Node) {
	w.view.joined(member(n))
	w.config.SuspicionMult = suspicionMult(w.view.size())
}

func (w *watcher) NotifyLeave(n *memberlist.Node) {
	w.view.died(n.Name)
	w.config.SuspicionMult = suspicionMult(w.view.size())
}

func (w *watcher) NotifyUpdate(n *memberlist.Node) { w.view.updated(member(n)) }

func member(n *memberlist.Node) Member {
	role, rest := decodeMeta(n.Meta)
	return Member{Name: n.Name, Role: role, Meta: rest, Address: net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))}
}
