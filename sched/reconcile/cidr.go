package reconcile

import (
	"math/bits"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// cidrPool hands out equal blocks of a network, the lowest free one first.
type cidrPool struct {
	cluster netip.Prefix
	bits    int
	used    []uint64 // a bit a block
}

// cidrBlocksMax bounds the pool's memory: an IPv6 network has more blocks than any cluster nodes.
const cidrBlocksMax = 1 << 20

func newCIDRPool(cluster netip.Prefix, blockBits int) *cidrPool {
	p := &cidrPool{cluster: cluster.Masked(), bits: blockBits}
	if !cluster.IsValid() {
		return p
	}
	if p.bits == 0 {
		p.bits = 24
		if cluster.Addr().Is6() {
			p.bits = 64
		}
	}
	n := cidrBlocksMax
	if d := p.bits - cluster.Bits(); d < 20 {
		n = 1 << max(d, 0)
	}
	p.used = make([]uint64, (n+63)/64)
	if n < 64 {
		p.used[0] = ^uint64(0) << n // blocks beyond the network
	}
	return p
}

// take notes that a block is in use; what is not one of the pool's blocks is ignored.
func (p *cidrPool) take(cidr string) {
	if i := p.index(cidr); i >= 0 {
		p.used[i/64] |= 1 << (i % 64)
	}
}

func (p *cidrPool) release(cidr string) {
	if i := p.index(cidr); i >= 0 {
		p.used[i/64] &^= 1 << (i % 64)
	}
}

// full says whether there is no free block.
func (p *cidrPool) full() bool {
	return !slices.ContainsFunc(p.used, func(word uint64) bool { return word != ^uint64(0) })
}

// next takes the lowest free block; "" if there is none.
func (p *cidrPool) next() string {
	for w, word := range p.used {
		if word != ^uint64(0) {
			i := w*64 + bits.TrailingZeros64(^word)
			p.used[w] |= 1 << (i % 64)
			return p.block(i).String()
		}
	}
	return ""
}

// block is the i-th block.
func (p *cidrPool) block(i int) netip.Prefix {
	b := p.cluster.Addr().AsSlice()
	for bit := p.bits - 1; i > 0; bit-- {
		if i&1 != 0 {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		i >>= 1
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.bits)
}

// index is the block's number; -1 if it is none of the pool's.
func (p *cidrPool) index(cidr string) int {
	b, err := netip.ParsePrefix(cidr)
	if err != nil || len(p.used) == 0 || b.Bits() != p.bits || !p.cluster.Contains(b.Addr()) {
		return -1
	}
	i, raw := 0, b.Addr().AsSlice()
	for bit := p.cluster.Bits(); bit < p.bits; bit++ {
		i = i<<1 | int(raw[bit/8]>>(7-bit%8)&1)
		if i >= len(p.used)*64 {
			return -1
		}
	}
	return i
}

// giveBackCIDR frees a block that a failed write would have given to a node, unless another one is known by now that was created with it.
func (e *Engine) giveBackCIDR(written runtime.Object) {
	n := written.(*corev1.Node)
	if o := e.object(Nodes, "", n.Name); o == nil || podCIDR(o.obj.(*corev1.Node)) != podCIDR(n) {
		e.releaseCIDRs(n)
		for _, other := range e.list("", Nodes) {
			if o := other.obj.(*corev1.Node); podCIDR(o) == podCIDR(n) || podCIDR6(o) == podCIDR6(n) {
				e.takeCIDRs(o)
			}
		}
	}
}
