package server

import "context"

// lanes are where proposals wait for an entry of the log. Statuses of pods come from all nodes at once and in large pieces; what a
// leader decides, and what users write, is little and must not wait behind them: a new leader whose first write does is none.
type lanes struct {
	prompt chan *proposal // in the order in which they came
	bulk   chan *proposal // likewise; taken after those, but for the first of every other entry at least
	carry  *proposal      // did not fit into the last entry
	owed   bool           // the last entry had none of bulk
}

func newLanes(each int) *lanes {
	return &lanes{prompt: make(chan *proposal, each), bulk: make(chan *proposal, each)}
}

// put waits for room.
func (l *lanes) put(ctx context.Context, w *proposal) error {
	lane := l.prompt
	if w.bulk {
		lane = l.bulk
	}
	select {
	case lane <- w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// collect waits for a proposal and takes what else is there, up to an entry's limits. nil: ctx has ended.
func (l *lanes) collect(ctx context.Context) []*proposal {
	first := l.first(ctx)
	if first == nil {
		return nil
	}
	parts, size := []*proposal{first}, first.weight()
	l.owed = !first.bulk
	for len(parts) < entryProposalsMax {
		w := l.more()
		if w == nil {
			break
		}
		if size += w.weight(); size > entryBytesMax {
			l.carry = w
			break
		}
		l.owed = l.owed && !w.bulk
		parts = append(parts, w)
	}
	return parts
}

func (l *lanes) first(ctx context.Context) *proposal {
	if l.owed && (l.carry == nil || !l.carry.bulk) {
		if w := poll(l.bulk); w != nil {
			return w
		}
	}
	w := l.more()
	for w == nil {
		select {
		case w = <-l.prompt:
		case w = <-l.bulk:
		case <-ctx.Done():
			return nil
		}
		if !w.take() {
			w = nil // its caller has given up
		}
	}
	return w
}

// more is the next proposal that waits, nil if there is none.
func (l *lanes) more() *proposal {
	if w := l.carry; w != nil {
		l.carry = nil
		return w
	}
	if w := poll(l.prompt); w != nil {
		return w
	}
	return poll(l.bulk)
}

// poll takes what waits in a lane and was not given up; nil if there is nothing.
func poll(lane <-chan *proposal) *proposal {
	for {
		select {
		case w := <-lane:
			if w.take() {
				return w
			}
		default:
			return nil
		}
	}
}
