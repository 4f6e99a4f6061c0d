package sched

import corev1 "k8s.io/api/core/v1"

// topology is a label key of nodes whose values are domains.
type topology struct {
	key     string
	domain  []int32 // by slot; none without the label
	ids     map[string]int32
	size    []int32 // nodes by domain
	free    []int32 // domains without nodes
	askers  int
	crowded int // domains with more than one node
	filed   int // nodes with the label
}

// none is the domain of a node without the label.
const none = -1 << 31

func newTopology(key string) *topology {
	return &topology{key: key, ids: map[string]int32{}}
}

// domains is how many have nodes.
func (p *topology) domains() int { return len(p.ids) }

// single says that every domain is one node, as with host names.
func (p *topology) single() bool { return p.crowded == 0 }

// set files a node, or takes it out if n is nil.
func (p *topology) set(i int32, n *corev1.Node, old *corev1.Node) {
	for int(i) >= len(p.domain) {
		p.domain = append(p.domain, none)
	}
	if d := p.domain[i]; d != none {
		p.leave(d, old.Labels[p.key])
		p.domain[i] = none
	}
	if n == nil {
		return
	}
	if v, there := n.Labels[p.key]; there {
		p.domain[i] = p.enter(v)
	}
}

func (p *topology) leave(d int32, value string) {
	p.filed--
	p.size[d]--
	switch p.size[d] {
	case 1:
		p.crowded--
	case 0:
		delete(p.ids, value)
		p.free = append(p.free, d)
	}
}

func (p *topology) enter(value string) int32 {
	d, there := p.ids[value]
	if !there {
		if last := len(p.free) - 1; last >= 0 {
			d, p.free = p.free[last], p.free[:last]
		} else {
			d = int32(len(p.size))
			p.size = append(p.size, 0)
		}
		p.ids[value] = d
	}
	p.filed++
	if p.size[d]++; p.size[d] == 2 {
		p.crowded++
	}
	return d
}

// eachTopology tells the keys that a class's wishes name.
func (t *Table) eachTopology(c *class, tell func(key string)) {
	for i := range c.spread {
		tell(c.spread[i].topology)
	}
	for _, list := range [][]affinityWish{c.together, c.apart, c.pulls} {
		for i := range list {
			tell(list[i].topology)
		}
	}
}

// needTopology begins to file nodes by a key, unless somebody needs that already.
func (t *Table) needTopology(key string) {
	p := t.topologies[key]
	if p == nil {
		p = newTopology(key)
		t.topologies[key] = p
		for i, n := range t.nodes {
			p.set(int32(i), n, nil)
		}
	}
	p.askers++
}

func (t *Table) freeTopology(key string) {
	if p := t.topologies[key]; p.askers > 1 {
		p.askers--
	} else {
		delete(t.topologies, key)
	}
}
