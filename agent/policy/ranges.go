package policy

import (
	"net/netip"
	"slices"

	"github.com/peapod-sh/peapod/agent/network"
)

// merge sorts ranges and joins those that touch, so that equal sets of addresses are equal lists.
func merge(list []network.AddrRange) []network.AddrRange {
	slices.SortFunc(list, func(a, b network.AddrRange) int { return a.First.Compare(b.First) })
	out := list[:0]
	for _, r := range list {
		if last := len(out) - 1; last >= 0 && touches(out[last], r) {
			if out[last].Last.Less(r.Last) {
				out[last].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

// touches says whether b, which does not begin before a, leaves no address between them.
func touches(a, b network.AddrRange) bool {
	behind := a.Last.Next()
	return a.Last.Is4() == b.First.Is4() && (!behind.IsValid() || !behind.Less(b.First))
}

// contains looks an address up in merged ranges.
func contains(list []network.AddrRange, a netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(list, a, func(r network.AddrRange, a netip.Addr) int { return r.First.Compare(a) })
	return exact || i > 0 && !list[i-1].Last.Less(a)
}

// rangeOf is a prefix as a range, of either family.
func rangeOf(text string) (network.AddrRange, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return network.AddrRange{}, false
	}
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(last); bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	end, _ := netip.AddrFromSlice(last)
	return network.AddrRange{First: p.Addr(), Last: end}, true
}

// block is an ipBlock: a range with holes.
func block(cidr string, except []string) []network.AddrRange {
	whole, ok := rangeOf(cidr)
	if !ok {
		return nil
	}
	var holes []network.AddrRange
	for _, text := range except {
		if hole, ok := rangeOf(text); ok && hole.First.Is4() == whole.First.Is4() {
			holes = append(holes, hole)
		}
	}
	var out []network.AddrRange
	next := whole.First
	for _, hole := range merge(holes) {
		if next.Less(hole.First) {
			out = append(out, network.AddrRange{First: next, Last: hole.First.Prev()})
		}
		if next = hole.Last.Next(); !next.IsValid() || whole.Last.Less(next) {
			return out
		}
	}
	return append(out, network.AddrRange{First: next, Last: whole.Last})
}
