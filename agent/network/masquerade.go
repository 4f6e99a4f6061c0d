package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// tableName is the nftables table (family ip) that holds our rules and nobody else's. Each bridge has
// a chain in it, so that two nodes in one namespace do not undo each other's work.
const tableName = "peapod"

func (n *Network) nftables() (*nftables.Conn, *nftables.Table, error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.home.ns)))
	if err != nil {
		return nil, nil, fmt.Errorf("opening nftables: %w", err)
	}
	return c, &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}, nil
}

func (n *Network) chain(t *nftables.Table) *nftables.Chain {
	return &nftables.Chain{Name: "masquerade-" + n.cfg.Bridge, Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource}
}

// ensureMasquerade writes the chain anew in one transaction: packets see the old rule or the new one.
func (n *Network) ensureMasquerade(pods netip.Prefix) error {
	c, t, err := n.nftables()
	if err != nil {
		return err
	}
	c.AddTable(t)
	ch := c.AddChain(n.chain(t))
	c.FlushChain(ch)
	var rule []expr.Any
	rule = append(rule, matchPrefix(ipv4.source, pods, expr.CmpOpEq)...)
	rule = append(rule, matchPrefix(ipv4.destination, n.cfg.ClusterCIDR, expr.CmpOpNeq)...)
	rule = append(rule, matchPrefix(ipv4.destination, n.cfg.ServiceCIDR, expr.CmpOpNeq)...)
	rule = append(rule, &expr.Masq{})
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("writing the masquerade rule (it needs a kernel with nf_tables and nft_masq): %w", err)
	}
	return nil
}

// matchPrefix compares an address of the packet, masked, with a prefix of its family.
func matchPrefix(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	length := p.Addr().BitLen() / 8
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(length)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(length), Mask: net.CIDRMask(p.Bits(), 8*length), Xor: make([]byte, length)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// removeMasquerade removes our chain, and the table when it was the last.
func (n *Network) removeMasquerade() error {
	c, t, err := n.nftables()
	if err != nil {
		return err
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("listing nftables chains: %w", err)
	}
	mine, others := false, 0
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		if ch.Name == n.chain(t).Name {
			mine = true
		} else {
			others++
		}
	}
	switch {
	case !mine:
		return nil
	case others == 0:
		c.DelTable(t)
	default:
		ch := n.chain(t)
		c.FlushChain(ch)
		c.DelChain(ch)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("removing the masquerade rule: %w", err)
	}
	return nil
}
