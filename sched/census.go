package sched

import "slices"

// role is what a census counts.
type role uint8

const (
	chosen    role = iota // pods that all of its terms choose
	living                // those of them that are not being deleted
	repelling             // pods that require to be apart from what its term chooses
	pulling               // the same of what they prefer: their weights, negative if to be apart
)

// census counts pods by slot. There is one for all classes that ask for the same.
type census struct {
	id     censusID
	terms  []*term
	on     spots
	askers int // kinds whose wish it is
}

// censusID is what makes censuses the same. Topology only matters to those that count who asks.
type censusID struct {
	role     role
	terms    string
	topology string
}

func (s *census) anchor() label { return s.terms[0].anchor }

func (s *census) chooses(t *Table, c *class) bool {
	return !slices.ContainsFunc(s.terms, func(m *term) bool { return !m.chooses(c, t.spaces) })
}

// weightOf is what a pod of the class adds.
func (s *census) weightOf(t *Table, c *class) (weight int32) {
	switch s.id.role {
	case chosen, living:
		if s.chooses(t, c) {
			weight = 1
		}
	case repelling:
		for i := range c.apart {
			if s.asks(&c.apart[i]) {
				weight++
			}
		}
	case pulling:
		for i := range c.pulls {
			if s.asks(&c.pulls[i]) {
				weight += c.pulls[i].weight
			}
		}
		for i := range c.together {
			if s.asks(&c.together[i]) {
				weight += weightRequired
			}
		}
	}
	return weight
}

// asks says whether the wish is the one that the census counts the askers of.
func (s *census) asks(w *affinityWish) bool {
	return w.key == s.id.terms && w.topology == s.id.topology
}

// censusesFor are the censuses in which a class may count: those that choose pods by a label that it has, and those that choose by none.
// Those that count who asks are not among them: the class's own wishes lead to these.
func (t *Table) censusesFor(c *class) (out []*census) {
	add := func(at label) {
		for s := range t.choosers[at] {
			if s.id.role <= living {
				out = append(out, s)
			}
		}
	}
	if len(t.choosers) == 0 {
		return nil
	}
	add(label{})
	for key, value := range c.labels {
		add(label{key, value})
	}
	return out
}

// felt are the censuses of other pods' wishes that concern pods of the class.
func (t *Table) felt(c *class, r role) (out []*census) {
	if t.feelings == 0 {
		return nil
	}
	add := func(at label) {
		for s := range t.choosers[at] {
			if s.id.role == r && s.chooses(t, c) {
				out = append(out, s)
			}
		}
	}
	add(label{})
	for key, value := range c.labels {
		add(label{key, value})
	}
	return out
}

// hear begins to count what a new kind asks for.
func (t *Table) hear(k *kind) {
	c := k.class
	if !c.any() {
		return
	}
	for i := range c.spread {
		k.spread = append(k.spread, t.ask(living, "", c.spread[i].term))
	}
	if len(c.together) > 0 {
		terms := make([]*term, len(c.together))
		for i := range terms {
			terms[i] = c.together[i].term
			t.askFor(k, pulling, &c.together[i])
		}
		k.together = t.ask(chosen, "", terms...)
	}
	for i := range c.apart {
		k.apart = append(k.apart, t.ask(chosen, "", c.apart[i].term))
		t.askFor(k, repelling, &c.apart[i])
	}
	for i := range c.pulls {
		k.pulls = append(k.pulls, t.ask(chosen, "", c.pulls[i].term))
		t.askFor(k, pulling, &c.pulls[i])
	}
	t.eachTopology(c, t.needTopology)
}

// askFor counts the kind among those with the wish, which pods that the wish chooses will feel.
func (t *Table) askFor(k *kind, r role, w *affinityWish) {
	s := t.ask(r, w.topology, w.term)
	if !slices.ContainsFunc(k.shares, func(h share) bool { return h.census == s }) {
		k.shares = append(k.shares, share{s, s.weightOf(t, k.class)})
	}
}

// ask finds the census or begins it, with one more asker.
func (t *Table) ask(r role, topology string, terms ...*term) *census {
	id := censusID{r, "", topology}
	for i, m := range terms {
		if i > 0 {
			id.terms += "&"
		}
		id.terms += m.key
	}
	s := t.censuses[id]
	if s == nil {
		s = &census{id: id, terms: terms}
		t.censuses[id] = s
		addTo(t.choosers, s.anchor(), s)
		if r > living {
			t.feelings++
		} else {
			t.begins(s)
		}
	}
	s.askers++
	return s
}

// begins counts the pods that are there already.
func (t *Table) begins(s *census) {
	t.eachKind(s.anchor(), func(k *kind) {
		w := s.weightOf(t, k.class)
		if w == 0 {
			return
		}
		k.shares = append(k.shares, share{s, w})
		s.on.addAll(&k.on, w)
		if s.id.role == living {
			s.on.addAll(&k.leaving, -w)
		}
	})
}

// eachKind tells the kinds with the label, or all.
func (t *Table) eachKind(at label, tell func(*kind)) {
	if at != (label{}) {
		for k := range t.labelled[at] {
			tell(k)
		}
		return
	}
	for _, k := range t.kinds {
		tell(k)
	}
}

// unhear is the reverse of hear.
func (t *Table) unhear(k *kind) {
	c := k.class
	if !c.any() {
		return
	}
	for _, s := range k.spread {
		t.unask(s)
	}
	if k.together != nil {
		t.unask(k.together)
	}
	for i := range c.together {
		t.unask(t.censuses[censusID{pulling, c.together[i].key, c.together[i].topology}])
	}
	for i := range c.apart {
		t.unask(k.apart[i])
		t.unask(t.censuses[censusID{repelling, c.apart[i].key, c.apart[i].topology}])
	}
	for i := range c.pulls {
		t.unask(k.pulls[i])
		t.unask(t.censuses[censusID{pulling, c.pulls[i].key, c.pulls[i].topology}])
	}
	t.eachTopology(c, t.freeTopology)
}

func (t *Table) unask(s *census) {
	if s.askers--; s.askers > 0 {
		return
	}
	delete(t.censuses, s.id)
	dropFrom(t.choosers, s.anchor(), s)
	if s.id.role > living {
		t.feelings--
		return // only its askers had a share, and they are gone
	}
	t.eachKind(s.anchor(), func(k *kind) {
		k.shares = slices.DeleteFunc(k.shares, func(h share) bool { return h.census == s })
	})
}

// SetNamespace tells the labels of a namespace, which affinity terms may choose by; nil is none.
func (t *Table) SetNamespace(name string, labels map[string]string) (changed bool) {
	if sameStrings(t.spaces[name], labels) {
		return false
	}
	if labels == nil {
		delete(t.spaces, name)
	} else {
		t.spaces[name] = labels
	}
	for _, s := range t.censuses {
		if s.id.role <= living && slices.ContainsFunc(s.terms, func(m *term) bool { return m.spaces != nil }) {
			changed = true
			t.eachKind(s.anchor(), func(k *kind) {
				k.shares = slices.DeleteFunc(k.shares, func(h share) bool { return h.census == s })
			})
			s.on = spots{}
			t.begins(s)
		}
	}
	return changed || t.feelings > 0
}
