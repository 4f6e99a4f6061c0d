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
		if on && a.Is4() && g.cidr.Contains(a) {
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
	if g == nil || !n.cfg.ClusterCIDR.Contains(endpoint) {
		return false
	}
	return g.cidr.Contains(endpoint) || g.cidr.Contains(client) || client == n.cfg.NodeIP
}

// kept is what KeepSources has put in force.
type kept struct {
	on        bool
	endpoints []netip.Addr // sorted
}

func (n *Network) sourceTables() (ip, bridge *nftables.Table) {
	name := tableName + "-source-" + n.cfg.Bridge
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: name}, &nftables.Table{Family: nftables.TableFamilyBridge, Name: name}
}

// putSources writes both tables anew in one transaction, after the way that marked packets go.
func (n *Network) putSources(endpoints []netip.Addr) error {
	if err := n.home.RouteReplace(localDefault()); err != nil {
		return fmt.Errorf("adding the local route: %w", err)
	}
	if err := n.home.RuleAdd(sourceRule()); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding the rule for marked packets: %w", err)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)), nftables.WithSockOptions(roomForFilter))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	ip, bridge := n.sourceTables()
	for _, t := range []*nftables.Table{ip, bridge} {
		conn.AddTable(t) // so that there is one to delete
		conn.DelTable(t)
		conn.AddTable(t)
	}
	w := &ruleWriter{conn: conn, table: ip, of: ipv4}
	chain := conn.AddChain(&nftables.Chain{Name: "prerouting", Table: ip, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	w.rule(chain, hasTransparentSocket(), setMark(sourceMark))
	if len(endpoints) > 0 {
		w.table = bridge
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

// handUp has the bridge treat what pods send to other pods as sent to itself, from where it is routed.
func (n *Network) handUp(w *ruleWriter, endpoints []netip.Addr) {
	chain := w.conn.AddChain(&nftables.Chain{Name: "prerouting", Table: w.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-300)})
	set := &nftables.Set{Table: w.table, Name: "endpoints", KeyType: nftables.TypeIPAddr}
	var elements []nftables.SetElement
	for _, a := range endpoints {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
	}
	w.addSet(set, elements)
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		w.rule(chain, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		}, w.matchSet(ipv4.source, set), []expr.Any{
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

func localDefault() *netlink.Route {
	return &netlink.Route{LinkIndex: loopbackIndex, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: sourceTable, Protocol: routeProtocol,
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}
}

func sourceRule() *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Mark, r.Table, r.Priority = netlink.FAMILY_V4, sourceMark, sourceTable, sourceMark
	return r
}

// removeSources removes what an agent of this node has made, if any has.
func (n *Network) removeSources() error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	ip, bridge := n.sourceTables()
	for _, t := range []*nftables.Table{ip, bridge} {
		conn.AddTable(t)
		conn.DelTable(t)
	}
	err = conn.Flush()
	if e := n.home.RuleDel(sourceRule()); e != nil && !errors.Is(e, unix.ENOENT) {
		err = errors.Join(err, fmt.Errorf("removing the rule for marked packets: %w", e))
	}
	if e := n.home.RouteDel(localDefault()); e != nil && !errors.Is(e, unix.ESRCH) {
		err = errors.Join(err, fmt.Errorf("removing the local route: %w", e))
	}
	return err
}
