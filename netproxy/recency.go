package netproxy

// recency orders the sessions of a listener by when they were heard of.
type recency struct{ oldest, newest *session }

func (r *recency) add(s *session) {
	s.older, s.newer = r.newest, nil
	if r.newest != nil {
		r.newest.newer = s
	} else {
		r.oldest = s
	}
	r.newest = s
}

func (r *recency) remove(s *session) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		r.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		r.newest = s.older
	}
	s.older, s.newer = nil, nil
}
