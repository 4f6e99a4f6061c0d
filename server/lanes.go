package server

import "context"

// lanes are where proposals wait for an entry of the log. Statuses of pods come from all nodes at once and in large pieces; what a
// leader decides, and what users write, is little and must not wait behind them: a new leader whose first write does is none.
type lanes struct {
	prompt, bulk *lane // bulk is taken after prompt, but for the first of an entry when it has been passed by often enough
	passed       int   // the weight of the entries since the last one that had some of bulk
}

// lane is proposals in the order in which they came.
type lane struct {
	in    chan *proposal
	carry *proposal // did not fit into the last entry
}

func newLanes(each int) *lanes {
	return &lanes{prompt: &lane{in: make(chan *proposal, each)}, bulk: &lane{in: make(chan *proposal, each)}}
}

func (l *lanes) of(w *proposal) *lane {
	if w.bulk {
		return l.bulk
	}
	return l.prompt
}

// put waits for room.
func (l *lanes) put(ctx context.Context, w *proposal) error {
	select {
	case l.of(w).in <- w:
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
	parts, size, bulk := []*proposal{first}, first.weight(), first.bulk
	for len(parts) < entryProposalsMax {
		w := l.more()
		if w == nil {
			break
		}
		if size+w.weight() > entryBytesMax {
			l.of(w).carry = w
			break
		}
		size += w.weight()
		bulk = bulk || w.bulk
		parts = append(parts, w)
	}
	if l.passed += size; bulk {
		l.passed = 0
	}
	return parts
}

func (l *lanes) first(ctx context.Context) *proposal {
	if l.passed >= promptBeforeBulk {
		if w := l.bulk.poll(); w != nil {
			return w
		}
	}
	w := l.more()
	for w == nil {
		select {
		case w = <-l.prompt.in:
		case w = <-l.bulk.in:
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
	if w := l.prompt.poll(); w != nil {
		return w
	}
	return l.bulk.poll()
}

// poll takes what waits in the lane and was not given up; nil if there is nothing.
func (l *lane) poll() *proposal {
	if w := l.carry; w != nil {
		l.carry = nil
		return w
	}
	for {
		select {
		case w := <-l.in:
			if w.take() {
				return w
			}
		default:
			return nil
		}
	}
}
