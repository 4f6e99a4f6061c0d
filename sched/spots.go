package sched

// spots are amounts by slot, few of which are not zero. One slot alone costs no map: most bare pods have a template of their own.
type spots struct {
	slot, n int32
	more    map[int32]int32
}

func (s *spots) add(i, n int32) {
	switch {
	case s.n != 0 && s.slot == i:
		s.n += n
	case s.n == 0 && len(s.more) == 0:
		s.slot, s.n, s.more = i, n, nil
	default:
		s.addMore(i, n)
	}
}

func (s *spots) addMore(i, n int32) {
	if s.more == nil {
		s.more = map[int32]int32{}
	}
	if sum := s.more[i] + n; sum != 0 {
		s.more[i] = sum
	} else {
		delete(s.more, i)
	}
}

// at is the amount of one slot.
func (s *spots) at(i int32) int32 {
	if s.n != 0 && s.slot == i {
		return s.n
	}
	return s.more[i]
}

// each tells every slot with its amount, in no order.
func (s *spots) each(tell func(i, n int32)) {
	if s.n != 0 {
		tell(s.slot, s.n)
	}
	for i, n := range s.more {
		tell(i, n)
	}
}

// addAll adds another's amounts, each times weight.
func (s *spots) addAll(o *spots, weight int32) {
	o.each(func(i, n int32) { s.add(i, n*weight) })
}
