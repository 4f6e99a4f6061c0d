package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/server/kube"
)

// Errors of writing.
var (
	// ErrNoLeader means that no leader took the write in time; nothing was written.
	ErrNoLeader = fmt.Errorf("the cluster has no leader now; %w, try again", kube.ErrNotWritten)
	// ErrUnknownOutcome means that the leader was lost with the write under way: it may have been made.
	ErrUnknownOutcome = errors.New("the leader was lost while the write was under way; it may or may not have been made")
	// ErrTooLarge means that a proposal can never be a log entry.
	ErrTooLarge = fmt.Errorf("the write is larger than %d bytes", proposalBytesMax)

	// errNotLeader means that this server does not lead, and that nothing was proposed.
	errNotLeader = errors.New("not the leader")
)

// log is raft as the proposer needs it.
type log interface {
	Apply(entry []byte, timeout time.Duration) raft.ApplyFuture
	Leading() bool
	Nudge() // lets the followers hear what is committed
}

// forwarder sends an encoded list of ops to the leader.
type forwarder interface {
	Forward(ctx context.Context, encoded []byte) (*wire.WriteReply, error)
}

// proposer turns many small writes into few log entries, with several entries in flight. No lock
// is held while raft works.
type proposer struct {
	log     log
	forward forwarder
	applied func(ctx context.Context, index uint64) error // waits until the local state has an index

	in       *lanes
	entries  chan entry    // in the order of raft.Apply
	forwards chan struct{} // semaphore
}

// proposal is one caller's ops.
type proposal struct {
	encoded []byte
	rows    int         // of pods, if they weigh more than their bytes
	bulk    bool        // it may wait for others
	here    bool        // it is for this server's log only: no other leader is to carry it out
	done    chan answer // capacity 1
	taken   atomic.Bool // by whoever comes first: the proposer, or a caller who gives up
}

// take says whether the proposal is the caller's to propose, or to withdraw.
func (w *proposal) take() bool { return w.taken.CompareAndSwap(false, true) }

type answer struct {
	results []ops.Result
	index   uint64
	err     error
}

type entry struct {
	future raft.ApplyFuture
	parts  []*proposal
	handed time.Time // to raft
}

func newProposer(l log, f forwarder, applied func(context.Context, uint64) error) *proposer {
	return &proposer{log: l, forward: f, applied: applied,
		in:       newLanes(proposalsWaitingMax),
		entries:  make(chan entry, entriesInFlightMax),
		forwards: make(chan struct{}, forwardsInFlightMax),
	}
}

// Propose commits ops and returns their results. The local state then has them, or will have them in a moment if another
// server leads: who must read them here waits for a revision, or reads behind a barrier. It has what refused an op. It asks again
// while nobody leads, until ctx ends (or proposeTimeout, if ctx has no deadline).
func (p *proposer) Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error) {
	encoded, err := ops.Encode(list)
	if err != nil {
		return nil, err
	}
	a := p.submit(ctx, &proposal{encoded: encoded}, true)
	return a.results, a.err
}

// submit is Propose for ops already encoded. Without retry it answers errNotLeader at once.
func (p *proposer) submit(ctx context.Context, w *proposal, retry bool) answer {
	if len(w.encoded) > proposalBytesMax {
		return answer{err: ErrTooLarge}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
	}
	for {
		a := p.once(ctx, w)
		if !errors.Is(a.err, errNotLeader) || !retry {
			return a
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return answer{err: ErrNoLeader}
		}
	}
}

func (p *proposer) once(ctx context.Context, what *proposal) answer {
	w := &proposal{encoded: what.encoded, rows: what.rows, bulk: what.bulk, here: what.here, done: make(chan answer, 1)}
	if _, err := p.enqueue(ctx, w); err != nil {
		return answer{err: ErrNoLeader}
	}
	select {
	case a := <-w.done:
		return a
	case <-ctx.Done():
	}
	if w.take() {
		return answer{err: ErrNoLeader}
	}
	select {
	case a := <-w.done:
		return a
	default:
		return answer{err: ErrUnknownOutcome}
	}
}

// enqueueHere hands a term's ops over without waiting, for it has several in flight in order. What a leader decides only it may
// write: another one may know better by then.
func (p *proposer) enqueueHere(ctx context.Context, encoded []byte, rows int) (<-chan answer, error) {
	return p.enqueue(ctx, &proposal{encoded: encoded, rows: rows, here: true, done: make(chan answer, 1)})
}

func (p *proposer) enqueue(ctx context.Context, w *proposal) (<-chan answer, error) {
	return w.done, p.in.put(ctx, w)
}

// Run batches and hands over until ctx ends, and then answers whatever still waits.
func (p *proposer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.complete() })
	defer wg.Wait()
	defer close(p.entries)
	for {
		parts := p.in.collect(ctx)
		if parts == nil {
			return ctx.Err()
		}
		if p.log.Leading() {
			p.append(parts)
		} else {
			p.send(ctx, &wg, refuseHere(parts))
		}
	}
}

// refuseHere answers the proposals that are for this server's log, since it does not lead, and returns the others.
func refuseHere(parts []*proposal) []*proposal {
	return slices.DeleteFunc(parts, func(w *proposal) bool {
		if w.here {
			w.done <- answer{err: errNotLeader}
		}
		return w.here
	})
}

// weight is how much of an entry's limit the proposal takes.
func (w *proposal) weight() int { return max(len(w.encoded), w.rows*podRowWeight) }

func (p *proposer) append(parts []*proposal) {
	joined, err := join(parts)
	if err != nil {
		answerAll(parts, answer{err: err})
		return
	}
	p.entries <- entry{p.log.Apply(joined, enqueueTimeout), parts, time.Now()}
}

// complete answers the proposals of each entry when raft has applied it, and nudges the followers when entries stop coming.
func (p *proposer) complete() {
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case e, open := <-p.entries:
			if !open {
				return
			}
			if p.answer(e) {
				quiet.Reset(nudgePause)
			}
		case <-quiet.C:
			p.log.Nudge()
		}
	}
}

// answer waits for an entry and says whether it was committed.
func (p *proposer) answer(e entry) bool {
	err := e.future.Error()
	metrics.MeasureSince([]string{"server", "commit"}, e.handed)
	metrics.AddSample([]string{"server", "proposals_per_entry"}, float32(len(e.parts)))
	if err != nil {
		answerAll(e.parts, answer{err: applyError(err)})
		return false
	}
	if refused, is := e.future.Response().(error); is {
		answerAll(e.parts, answer{err: refused})
		return true
	}
	results, _ := e.future.Response().([]ops.Result)
	split(e.parts, results, e.future.Index())
	return true
}

// applyError tells what raft's error means for the writer.
func applyError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errNotLeader
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore), errors.Is(err, raft.ErrRaftShutdown):
		return ErrUnknownOutcome
	}
	return fmt.Errorf("writing to the log: %w", err)
}

// send forwards a batch to the leader in its own goroutine.
func (p *proposer) send(ctx context.Context, wg *sync.WaitGroup, parts []*proposal) {
	if len(parts) == 0 {
		return
	}
	select {
	case p.forwards <- struct{}{}:
	case <-ctx.Done():
		answerAll(parts, answer{err: ErrNoLeader})
		return
	}
	wg.Go(func() {
		defer func() { <-p.forwards }()
		p.relay(ctx, parts)
	})
}

func (p *proposer) relay(ctx context.Context, parts []*proposal) {
	joined, err := join(parts)
	if err != nil {
		answerAll(parts, answer{err: err})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	reply, err := p.forward.Forward(ctx, joined)
	switch {
	case err != nil:
		answerAll(parts, answer{err: err})
		return
	case reply.NotLeader:
		answerAll(parts, answer{err: errNotLeader})
		return
	case reply.Error != "":
		answerAll(parts, answer{err: errors.New(reply.Error)})
		return
	}
	results, err := ops.DecodeResults(reply.Results)
	if err == nil && !allApplied(results) {
		err = p.applied(ctx, reply.Index) // whoever was refused looks again, and must see why
	}
	if err != nil {
		answerAll(parts, answer{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, err)})
		return
	}
	split(parts, results, reply.Index)
}

func allApplied(results []ops.Result) bool {
	for _, r := range results {
		for _, row := range r.Rows {
			if row != ops.Applied {
				return false
			}
		}
	}
	return true
}

func join(parts []*proposal) ([]byte, error) {
	if len(parts) == 1 {
		return parts[0].encoded, nil
	}
	lists := make([][]byte, len(parts))
	for i, w := range parts {
		lists[i] = w.encoded
	}
	return ops.Join(lists)
}

// split hands each proposal the results of its own ops.
func split(parts []*proposal, results []ops.Result, index uint64) {
	for _, w := range parts {
		n := min(ops.Count(w.encoded), len(results))
		w.done <- answer{results: results[:n:n], index: index}
		results = results[n:]
	}
}

func answerAll(parts []*proposal, a answer) {
	for _, w := range parts {
		w.done <- a
	}
}
