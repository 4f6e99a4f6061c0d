package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The filter has a table of its own for each bridge, so that it can be replaced whole: one transaction deletes the old table and
// makes the new one, and every packet meets either. Each isolated pod is a key of a verdict map that leads to a chain; pods
// that are allowed the same share one.

// filterTable names our table.
func (n *Network) filterTable() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName + "-policy-" + n.cfg.Bridge}
}

// ruleWriter collects one table of a transaction.
type ruleWriter struct {
	conn   *nftables.Conn
	table  *nftables.Table
	of     *family
	base   *nftables.Chain
	chains map[string]string        // what a chain allows -> its name
	sets   map[setKey]*nftables.Set // of peers
	err    error
}

// setKey tells lists of peers apart by where they are: pods that a rule selects share its list.
type setKey struct {
	first *AddrRange
	count int
}

func (n *Network) writeFilter(g *ground, f *Filter) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)), nftables.WithSockOptions(roomForFilter))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	err = n.writeFamily(newRuleWriter(conn, n.filterTable(), ipv4), g.cidr, f)
	if g.cidr6.IsValid() && err == nil {
		err = n.writeFamily(newRuleWriter(conn, n.filterTable6(), ipv6), g.cidr6, f)
	}
	newRuleWriter(conn, n.bridgeTable(), ipv4).onlyKnown(g)
	if err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("writing the packet filter (it needs a kernel with nf_tables and nft_ct): %w", err)
	}
	return nil
}

// newRuleWriter begins a table anew.
func newRuleWriter(conn *nftables.Conn, t *nftables.Table, of *family) *ruleWriter {
	conn.AddTable(t) // so that there is one to delete
	conn.DelTable(t)
	conn.AddTable(t)
	w := &ruleWriter{conn: conn, table: t, of: of, chains: map[string]string{}, sets: map[setKey]*nftables.Set{}}
	w.base = conn.AddChain(&nftables.Chain{Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	return w
}

// writeFamily holds the pods to the rules by their addresses of one family, of which the node's network is cidr.
func (n *Network) writeFamily(w *ruleWriter, cidr netip.Prefix, f *Filter) error {
	in, out := matchLink(expr.MetaKeyIIFNAME, ifname(n.cfg.Bridge)), matchLink(expr.MetaKeyOIFNAME, ifname(n.cfg.Bridge))
	w.rule(w.base, established(), accept())
	if w.of == ipv6 { // what ARP is to IPv4, which does not come by here
		w.rule(w.base, matchICMP6(neighbourSolicitation), accept())
		w.rule(w.base, matchICMP6(neighbourAdvertisement), accept())
	}
	// A pod that pretends to be another node would be trusted, one that pretends to be another node's pod obeyed.
	own := gateway(cidr)
	w.rule(w.base, in, matchPrefix(w.of.source, cidr, expr.CmpOpNeq), deny())
	w.rule(w.base, in, matchPrefix(w.of.source, netip.PrefixFrom(own, own.BitLen()), expr.CmpOpEq), deny())
	w.direction("egress", in, f.Egress, w.of.source, w.of.destination)
	if trusted := w.of.among(f.Trusted); len(trusted) > 0 {
		set := w.set("trusted", ranges(trusted))
		w.rule(w.base, out, w.matchSet(w.of.source, set), accept())
	}
	w.direction("ingress", out, f.Ingress, w.of.destination, w.of.source)
	return w.err
}

// direction leads the isolated pods, whose address is at offset own, to their chains.
func (w *ruleWriter) direction(name string, link []expr.Any, pods map[netip.Addr][]Allow, own, other uint32) {
	mine := w.of.among(sortedPods(pods))
	if len(mine) == 0 {
		return
	}
	isolated := &nftables.Set{Table: w.table, Name: name, IsMap: true, KeyType: w.of.key, DataType: nftables.TypeVerdict}
	var elements []nftables.SetElement
	for _, pod := range mine {
		chain := w.chain(name, pods[pod], other)
		elements = append(elements, nftables.SetElement{Key: pod.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}})
	}
	w.addSet(isolated, elements)
	w.rule(w.base, link, w.loadAddress(own), []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: isolated.Name, SetID: isolated.ID}})
}

// chain allows what is in the list, by a return to where the other direction is looked at, and drops the rest.
func (w *ruleWriter) chain(direction string, list []Allow, other uint32) string {
	key := direction
	for i := range list {
		key += w.keyOf(&list[i])
	}
	if name, ok := w.chains[key]; ok {
		return name
	}
	name := fmt.Sprintf("%s-%d", direction, len(w.chains))
	w.chains[key] = name
	chain := w.conn.AddChain(&nftables.Chain{Name: name, Table: w.table})
	for i := range list {
		w.allow(chain, &list[i], other)
	}
	w.rule(chain, deny())
	return name
}

func (w *ruleWriter) keyOf(a *Allow) string {
	peers := "any"
	if !a.AnyPeer {
		list := w.of.part(a.Peers)
		if len(list) == 0 {
			return "" // it allows nothing
		}
		peers = w.peers(list).Name
	}
	return fmt.Sprint(" ", peers, " ", a.AnyPort, a.Ports)
}

func (w *ruleWriter) allow(chain *nftables.Chain, a *Allow, other uint32) {
	var peers []expr.Any
	if !a.AnyPeer {
		list := w.of.part(a.Peers)
		if len(list) == 0 {
			return
		}
		peers = w.matchSet(other, w.peers(list))
	}
	back := []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	if a.AnyPort {
		w.rule(chain, peers, back)
		return
	}
	for _, p := range a.Ports {
		w.rule(chain, peers, matchPorts(p), back)
	}
}

func (w *ruleWriter) peers(list []AddrRange) *nftables.Set {
	key := setKey{&list[0], len(list)}
	if w.sets[key] == nil {
		w.sets[key] = w.set(fmt.Sprintf("peers-%d", len(w.sets)), list)
	}
	return w.sets[key]
}

// set makes a set of ranges, each of which is a key where it begins and one behind its end.
func (w *ruleWriter) set(name string, list []AddrRange) *nftables.Set {
	s := &nftables.Set{Table: w.table, Name: name, KeyType: w.of.key, Interval: true}
	var elements []nftables.SetElement
	for _, r := range list {
		elements = append(elements, nftables.SetElement{Key: r.First.AsSlice()})
		if behind := r.Last.Next(); behind.IsValid() {
			elements = append(elements, nftables.SetElement{Key: behind.AsSlice(), IntervalEnd: true})
		}
	}
	w.addSet(s, elements)
	return s
}

// addSet adds the elements in parts, since one message holds 64 KiB of them.
func (w *ruleWriter) addSet(s *nftables.Set, elements []nftables.SetElement) {
	w.fail(w.conn.AddSet(s, nil))
	for len(elements) > 0 {
		part := min(len(elements), setPartMax)
		w.fail(w.conn.SetAddElements(s, elements[:part]))
		elements = elements[part:]
	}
}

func (w *ruleWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *ruleWriter) rule(chain *nftables.Chain, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: chain.Table, Chain: chain}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	w.conn.AddRule(r)
}

// removeFilter removes our table, if there is one.
func (n *Network) removeFilter() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	for _, t := range []*nftables.Table{n.filterTable(), n.bridgeTable(), n.filterTable6()} {
		c.AddTable(t) // so that there is one to delete
		c.DelTable(t)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("removing the packet filter: %w", err)
	}
	return nil
}

// bridgeTable goes with the filter's: between pods of one node it lets only pass what the filter sees.
func (n *Network) bridgeTable() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyBridge, Name: n.filterTable().Name}
}

// onlyKnown drops all but IPv4 and ARP between pods: they have no IPv6 addresses but those that a link gives itself, unless the cluster is of
// both families.
func (w *ruleWriter) onlyKnown(g *ground) {
	known := []uint16{unix.ETH_P_IP, unix.ETH_P_ARP}
	if g.cidr6.IsValid() {
		known = append(known, unix.ETH_P_IPV6)
	}
	for _, protocol := range known {
		w.rule(w.base, matchProtocol(protocol), accept())
	}
	pods := []byte(vethPrefix) // without its end it matches every name that begins so
	w.rule(w.base, matchLink(expr.MetaKeyIIFNAME, pods), matchLink(expr.MetaKeyOIFNAME, pods), deny())
}

func matchProtocol(ethertype uint16) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(ethertype)}}
}

// roomForFilter makes the socket take a whole transaction, which must go out in one message, and its answers.
func roomForFilter(c *netlink.Conn) error {
	if err := c.SetWriteBuffer(filterBufferBytes); err != nil {
		return err
	}
	return c.SetReadBuffer(filterBufferBytes)
}

func established() []expr.Any {
	none := binaryutil.NativeEndian.PutUint32(0)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: none,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}

func matchLink(key expr.MetaKey, name []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

func (w *ruleWriter) loadAddress(offset uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: w.of.length}}
}

func (w *ruleWriter) matchSet(offset uint32, s *nftables.Set) []expr.Any {
	return append(w.loadAddress(offset), &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID})
}

// matchPorts looks at the destination port, which TCP, UDP and SCTP have in the same place.
func matchPorts(p PortRange) []expr.Any {
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.Protocol}},
	}
	if p.First == 0 && p.Last == 65535 {
		return out
	}
	return append(out,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: binaryutil.BigEndian.PutUint16(p.First), ToData: binaryutil.BigEndian.PutUint16(p.Last)})
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func deny() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// ranges turns addresses into ranges of one.
func ranges(list []netip.Addr) []AddrRange {
	out := make([]AddrRange, len(list))
	for i, a := range list {
		out[i] = AddrRange{a, a}
	}
	return out
}
