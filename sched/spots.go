package sched

// spots are amounts by slot, few of which are not zero. One slot alone costs nothing more: most bare pods have a template of their own.
type spots struct {
	slot, n int32
	more    *others
}

// others are the slots besides the first: a short list, which is quicker than a map, or a map.
type others struct {
	few  []spot
	many map[int32]int32
}

type spot struct{ slot, n int32 }

// fewSpotsMax is how long the list may be.
const fewSpotsMax = 16

func (s *spots) add(i, n int32) {
	switch {
	case s.n != 0 && s.slot == i:
		s.n += n
	case s.n == 0 && s.more.empty():
		s.slot, s.n, s.more = i, n, nil
	default:
		if s.more == nil {
			s.more = &others{}
		}
		s.more.add(i, n)
	}
}

func (o *others) empty() bool { return o == nil || len(o.few) == 0 && len(o.many) == 0 }

func (o *others) add(i, n int32) {
	if o.many != nil {
		o.addMany(i, n)
		return
	}
	for k := range o.few {
		if o.few[k].slot == i {
			if o.few[k].n += n; o.few[k].n == 0 {
				last := len(o.few) - 1
				o.few[k] = o.few[last]
				o.few = o.few[:last]
			}
			return
		}
	}
	if n == 0 {
		return
	}
	if len(o.few) < fewSpotsMax {
		o.few = append(o.few, spot{i, n})
		return
	}
	o.many = make(map[int32]int32, 2*fewSpotsMax)
	for _, p := range o.few {
		o.many[p.slot] = p.n
	}
	o.few = nil
	o.addMany(i, n)
}

func (o *others) addMany(i, n int32) {
	if sum := o.many[i] + n; sum != 0 {
		o.many[i] = sum
	} else {
		delete(o.many, i)
	}
}

// at is the amount of one slot.
func (s *spots) at(i int32) int32 {
	if s.n != 0 && s.slot == i {
		return s.n
	}
	if s.more == nil {
		return 0
	}
	for _, p := range s.more.few {
		if p.slot == i {
			return p.n
		}
	}
	return s.more.many[i]
}

// each tells every slot with its amount, in no order.
func (s *spots) each(tell func(i, n int32)) {
	if s.n != 0 {
		tell(s.slot, s.n)
	}
	if s.more == nil {
		return
	}
	for _, p := range s.more.few {
		tell(p.slot, p.n)
	}
	for i, n := range s.more.many {
		tell(i, n)
	}
}

// addAll adds another's amounts, each times weight.
func (s *spots) addAll(o *spots, weight int32) {
	o.each(func(i, n int32) { s.add(i, n*weight) })
}
