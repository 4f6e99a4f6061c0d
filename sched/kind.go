package sched

import "k8s.io/apimachinery/pkg/types"

// kind is the pods of one class in this table: where they are, and what counts them.
type kind struct {
	class   *class
	pods    int32
	on      spots // all pods
	leaving spots // those of them that are being deleted
	shares  []share
	// The censuses of the class's own wishes, in the order of these.
	spread   []*census
	together *census
	apart    []*census
	pulls    []*census
}

// share is what one pod of a kind adds to a census.
type share struct {
	*census
	weight int32
}

// kindOf finds the kind of a class or begins it. Whoever leaves it without pods ends it.
func (t *Table) kindOf(c *class) *kind {
	if k := t.kinds[c]; k != nil {
		return k
	}
	k := &kind{class: c}
	for _, s := range t.censusesFor(c) {
		if w := s.weightOf(t, c); w != 0 {
			k.shares = append(k.shares, share{s, w})
		}
	}
	t.kinds[c] = k
	t.priorities[c.priority]++
	if c.owner != "" {
		t.owned[c.owner] = append(t.owned[c.owner], k)
	}
	for key, value := range c.labels {
		addTo(t.labelled, label{key, value}, k)
	}
	t.hear(k)
	return k
}

// endIfEmpty forgets a kind that has no pods, and what only it asked for.
func (t *Table) endIfEmpty(k *kind) {
	if k.pods != 0 {
		return
	}
	c := k.class
	delete(t.kinds, c)
	if t.priorities[c.priority]--; t.priorities[c.priority] == 0 {
		delete(t.priorities, c.priority)
	}
	t.disown(c.owner, k)
	for key, value := range c.labels {
		dropFrom(t.labelled, label{key, value}, k)
	}
	t.unhear(k)
}

func (t *Table) disown(owner types.UID, k *kind) {
	list := t.owned[owner]
	for i := range list {
		if list[i] == k {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(t.owned, owner)
	} else {
		t.owned[owner] = list
	}
}

func addTo[K, V comparable](index map[K]map[V]struct{}, k K, v V) {
	if index[k] == nil {
		index[k] = map[V]struct{}{}
	}
	index[k][v] = struct{}{}
}

func dropFrom[K, V comparable](index map[K]map[V]struct{}, k K, v V) {
	delete(index[k], v)
	if len(index[k]) == 0 {
		delete(index, k)
	}
}
