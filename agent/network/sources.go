package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The service proxy can reach a pod from its client's address (IP_TRANSPARENT). The pod's answer is for that address, and two things
// bring it to the proxy's socket instead. On its way through the node it is marked if there is such a socket, and marked packets are
// the node's own. And between pods of this node, where the bridge would carry it to the client directly, the bridge hands up what the
// pods send that are reached so.

const (
	// sourceMark is on the packets for transparent sockets ("pe"), and is the priority of the rule that delivers them.
	sourceMark = 0x7065
	// sourceTable is the routing table in which everything is local.
	sourceTable = 7112
)

// KeepSources has pods of this node answer to transparent sockets of the node that have foreign addresses; endpoints are those pods that are
// reached so. With on false nothing of it stays. Pods of other nodes answer so too if the foreign address is one of a pod of this
// node.
func (n *Network) KeepSources(on bool, endpoints []netip.Addr) error {
	n.sources.mu.Lock()
	defer n.sources.mu.Unlock()
	g := n.ground.Load()
	if g == nil {
		return ErrNoSetup
	}
	want := &kept{on: on}
	for _, a := range endpoints {
		if on && g.has(a) {
			want.endpoints = append(want.endpoints, a)
		}
	}
	slices.SortFunc(want.endpoints, netip.Addr.Compare)
	want.endpoints = slices.Compact(want.endpoints)
	if n.sources.last != nil && reflect.DeepEqual(n.sources.last, want) {
		return nil
	}
	err := n.removeSources()
	if on {
		err = n.putSources(want.endpoints)
	}
	if err != nil {
		n.sources.last = nil
		return fmt.Errorf("leading answers to clients' addresses back to the service proxy: %w", err)
	}
	n.sources.last = want
	return nil
}

// KeepsSource says whether a pod's answer to a client's address would come by this node, where the transparent socket is: the pod is here, or the
// client is. Any other answer takes its own way to the client, who would wait for ever. What is on a node's own network is not the
// bridge's to lead back.
func (n *Network) KeepsSource(client, endpoint netip.Addr) bool {
	g := n.ground.Load()
	if g == nil || !n.cfg.ClusterCIDR.Contains(endpoint) && !n.cfg.ClusterCIDR6.Contains(endpoint) {
		return false
	}
	if n.cfg.ServiceCIDR6.Contains(client) {
		return false // it is this node, which reaches addresses of services from themselves by IPv6
	}
	return g.has(endpoint) || g.has(client) || client == n.cfg.NodeIP
}

// has says whether an address belongs to the networks of this node's pods.
func (g *ground) has(a netip.Addr) bool { return g.cidr.Contains(a) || g.cidr6.Contains(a) }

// kept is what KeepSources has put in force.
type kept struct {
	on        bool
	endpoints []netip.Addr // sorted
}

func (n *Network) sourceTable(of nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Family: of, Name: tableName + "-source-" + n.cfg.Bridge}
}

// families are those of the cluster.
func (n *Network) families() []*family {
	if n.cfg.ClusterCIDR6.IsValid() {
		return []*family{ipv4, ipv6}
	}
	return []*family{ipv4}
}

// putSources writes all tables anew in one transaction, after the way that marked packets go.
func (n *Network) putSources(endpoints []netip.Addr) error {
	for _, f := range n.families() {
		if err := n.home.RouteReplace(localDefault(f)); err != nil {
			return fmt.Errorf("adding the local route: %w", err)
		}
		if err := n.home.RuleAdd(sourceRule(f)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding the rule for marked packets: %w", err)
		}
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)), nftables.WithSockOptions(roomForFilter))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	w := &ruleWriter{conn: conn}
	for _, f := range n.families() {
		w.of = f
		w.renew(n.sourceTable(f.tables))
		w.rule(w.prerouting(nftables.ChainPriorityMangle), hasTransparentSocket(), setMark(sourceMark))
	}
	w.renew(n.sourceTable(nftables.TableFamilyBridge))
	if len(endpoints) > 0 {
		n.handUp(w, endpoints)
	}
	if w.err != nil {
		return w.err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("writing the packet rules (they need a kernel with nft_socket and nf_tables for bridges): %w", err)
	}
	return nil
}

// renew begins a table anew.
func (w *ruleWriter) renew(t *nftables.Table) {
	w.conn.AddTable(t) // so that there is one to delete
	w.conn.DelTable(t)
	w.conn.AddTable(t)
	w.table = t
}

func (w *ruleWriter) prerouting(p *nftables.ChainPriority) *nftables.Chain {
	return w.conn.AddChain(&nftables.Chain{Name: "prerouting", Table: w.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: p})
}

// handUp has the bridge treat what pods send to other pods as sent to itself, from where it is routed.
func (n *Network) handUp(w *ruleWriter, endpoints []netip.Addr) {
	chain := w.prerouting(nftables.ChainPriorityRef(-300))
	for _, f := range n.families() {
		w.of = f
		set := &nftables.Set{Table: w.table, Name: fmt.Sprint("endpoints", f.length), KeyType: f.key}
		var elements []nftables.SetElement
		for _, a := range f.among(endpoints) {
			elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
		}
		if len(elements) > 0 {
			w.addSet(set, elements)
			n.handUpFrom(w, chain, set)
		}
	}
}

// handUpFrom does so for the endpoints in a set. What has options between the header of IPv6 and that of TCP is left alone: sockets send none.
func (n *Network) handUpFrom(w *ruleWriter, chain *nftables.Chain, set *nftables.Set) {
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		w.rule(chain, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(w.of.ether)},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: w.of.next, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		}, w.matchSet(w.of.source, set), []expr.Any{
			&expr.Immediate{Register: 1, Data: bridgeMAC(n.cfg.NodeName)},
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
			&expr.Immediate{Register: 1, Data: []byte{unix.PACKET_HOST}},
			&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: 1},
		})
	}
}

func hasTransparentSocket() []expr.Any {
	return []expr.Any{&expr.Socket{Key: expr.SocketKeyTransparent, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}}
}

func setMark(mark uint32) []expr.Any {
	return []expr.Any{&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}
}

func localDefault(f *family) *netlink.Route {
	return &netlink.Route{Family: f.routes, LinkIndex: loopbackIndex, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: sourceTable, Protocol: routeProtocol,
		Dst: &net.IPNet{IP: make(net.IP, f.length), Mask: net.CIDRMask(0, int(8*f.length))}}
}

func sourceRule(f *family) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Mark, r.Table, r.Priority = f.routes, sourceMark, sourceTable, sourceMark
	return r
}

// removeSources removes what an agent of this node has made, if any has.
func (n *Network) removeSources() error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	tables := []nftables.TableFamily{nftables.TableFamilyBridge}
	for _, f := range n.families() {
		tables = append(tables, f.tables)
	}
	for _, f := range tables {
		conn.AddTable(n.sourceTable(f))
		conn.DelTable(n.sourceTable(f))
	}
	err = conn.Flush()
	for _, f := range n.families() {
		if e := n.home.RuleDel(sourceRule(f)); e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("removing the rule for marked packets: %w", e))
		}
		if e := n.home.RouteDel(localDefault(f)); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("removing the local route: %w", e))
		}
	}
	return err
}
