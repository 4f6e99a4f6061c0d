package server

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-metrics"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// term is one leadership: the controllers' engine, fed by a tail of the state. It is built when
// the server begins to lead and is gone when it ends; nothing of it is used again.
type term struct {
	state    *fsm.FSM
	proposer *proposer
	engine   *reconcile.Engine
	verdicts <-chan liveness.Transition
	usage    *usageMeter
	asker    *asker
	asks     []reconcile.Ask // to hand over
	log      hclog.Logger
	now      func() time.Time
	breath   *breather // which the engine shares
}

// Run observes, decides and commits until ctx ends. Each round waits for its own writes, so that
// the next decision sees them.
func (t *term) Run(ctx context.Context) error {
	view, tail := t.state.TailAll(func(*api.Change) bool { return true })
	defer tail.Close()
	began := time.Now()
	t.engine.Load(view)
	t.log.Info("took in the state", "took", time.Since(began).Round(time.Millisecond))
	timer := time.NewTimer(0)
	defer timer.Stop()
	look := time.NewTicker(usagePeriod)
	defer look.Stop()
	for {
		t.breath.begin()
		if err := t.observe(tail); err != nil {
			return err
		}
		if err := t.exchange(tail); err != nil {
			return err
		}
		began := time.Now()
		list, next := t.engine.Step(t.now())
		metrics.MeasureSince([]string{"server", "term", "step"}, began)
		t.asks = append(t.asks, t.engine.Asks()...)
		if len(list) > 0 {
			if err := t.commit(ctx, tail, list); err != nil {
				return fmt.Errorf("committing the controllers' decisions: %w", err)
			}
			continue
		}
		resetTimer(timer, next, t.now())
		queue, ask := t.handOver()
		select {
		case queue <- ask:
			t.asks = t.asks[1:]
		case a := <-t.asker.done:
			if err := t.answer(tail, a); err != nil {
				return err
			}
		case <-tail.Ready():
		case v := <-t.verdicts:
			t.judge(t.waiting(v))
		case <-timer.C:
		case <-look.C:
			t.usage.ask(t.engine.UsageWanted())
		case m := <-t.usage.measured:
			t.engine.ObserveUsage(m)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// observe feeds what has been committed, and the verdicts that wait.
func (t *term) observe(tail *fsm.Tail) error {
	if err := t.takeIn(tail); err != nil {
		return err
	}
	t.judge(t.waiting())
	return nil
}

// takeIn feeds what has been committed.
func (t *term) takeIn(tail *fsm.Tail) error {
	changes, err := tail.Take()
	if err != nil {
		return fmt.Errorf("following the state: %w", err)
	}
	for i, c := range changes {
		t.engine.Observe(c)
		if i%observedAtOnce == 0 {
			t.breath.rest()
		}
	}
	return nil
}

// waiting adds the verdicts that wait to those that have been taken.
func (t *term) waiting(taken ...liveness.Transition) []liveness.Transition {
	for {
		select {
		case v := <-t.verdicts:
			taken = append(taken, v)
		default:
			return taken
		}
	}
}

func (t *term) judge(list []liveness.Transition) {
	names := map[liveness.Change][]string{}
	for _, v := range list {
		names[v.Change] = append(names[v.Change], v.Node)
		switch v.Change {
		case liveness.Died:
			metrics.IncrCounter([]string{"server", "node", "died"}, 1)
			t.engine.NodeDown(v.Node)
		case liveness.Revived:
			t.engine.NodeUp(v.Node)
		}
	}
	tellNodes(names[liveness.Suspected], func(args ...any) { t.log.Info("node is silent", args...) })
	tellNodes(names[liveness.Died], func(args ...any) { t.log.Warn("node is dead", args...) })
	tellNodes(names[liveness.Revived], func(args ...any) { t.log.Info("node is alive", args...) })
}

// namedMax is how many nodes of which the same is said at once have a line each in the log. Of more, one line says how many.
const namedMax = 20

func tellNodes(names []string, say func(args ...any)) {
	if len(names) > namedMax {
		say("nodes", len(names), "node", names[0], "to", names[len(names)-1])
		return
	}
	for _, n := range names {
		say("node", n)
	}
}

// resetTimer sets the timer to next, or to nothing if next is zero.
func resetTimer(timer *time.Timer, next, now time.Time) {
	timer.Stop()
	if !next.IsZero() {
		timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

// commit proposes ops in chunks, all in flight at once and in order, and tells the engine what did not apply. While it waits it takes in what
// is committed: a plan of many thousands is known soon after its last entry, and what is to be said of it need not wait until then.
func (t *term) commit(ctx context.Context, tail *fsm.Tail, list []ops.Op) error {
	var pending []chunk
	for _, part := range chunks(list) {
		encoded, err := ops.Encode(part)
		if err != nil {
			return err
		}
		t.breath.rest()
		done, err := t.proposer.enqueueHere(ctx, encoded, podRows(part))
		if err != nil {
			return err
		}
		pending = append(pending, chunk{part, done})
	}
	return t.await(ctx, tail, pending)
}

// await goes on while chunks are without an answer. Of what it takes in meanwhile some may be why a later chunk fails: the engine hears of
// both in any order.
func (t *term) await(ctx context.Context, tail *fsm.Tail, pending []chunk) error {
	for len(pending) > 0 {
		select {
		case a := <-pending[0].done:
			if a.err != nil {
				return a.err
			}
			t.report(pending[0].list, a.results)
			pending = pending[1:]
		case <-tail.Ready():
			if err := t.takeIn(tail); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

type chunk struct {
	list []ops.Op
	done <-chan answer
}

func (t *term) report(list []ops.Op, results []ops.Result) {
	for i := range results {
		for row, outcome := range results[i].Rows {
			if outcome != ops.Applied {
				t.log.Debug("a decision did not apply", "op", fmt.Sprintf("%T", list[i]), "row", row, "outcome", outcome, "detail", results[i].Detail)
				t.engine.Failed(list[i], row, outcome)
			}
		}
	}
}

// observedAtOnce is how many changes are taken in between two looks at the clock.
const observedAtOnce = 32

// chunkRowsMax keeps a plan's entry near 30 KB, so that agents start the first pods while the last
// are still on their way.
const chunkRowsMax = 1000

// chunks cuts a list into proposals: long pod ops by rows, the rest by count.
func chunks(list []ops.Op) [][]ops.Op {
	var out [][]ops.Op
	var part []ops.Op
	rows := 0
	for _, op := range list {
		for _, piece := range cut(op) {
			n := rowCount(piece)
			if rows+n > chunkRowsMax && len(part) > 0 {
				out, part, rows = append(out, part), nil, 0
			}
			part, rows = append(part, piece), rows+n
		}
	}
	if len(part) > 0 {
		out = append(out, part)
	}
	return out
}

// podRows counts the rows of pods that are made, bound or deleted: they take few bytes and much work.
func podRows(list []ops.Op) (n int) {
	for _, op := range list {
		switch o := op.(type) {
		case *ops.PlanPods:
			n += len(o.Rows)
		case *ops.DeletePods:
			n += len(o.Rows)
		case *ops.BindPods:
			n += len(o.Rows)
		}
	}
	return n
}

// objectRows is how many pod rows a whole object counts for in a chunk.
const objectRows = 8

func rowCount(op ops.Op) int {
	switch o := op.(type) {
	case *ops.PlanPods:
		return max(len(o.Rows), objectRows) // it has a whole pod
	case *ops.PodStatuses:
		return len(o.Rows) * objectRows
	case *ops.DeletePods:
		return len(o.Rows)
	case *ops.BindPods:
		return len(o.Rows)
	}
	return objectRows
}

// cut divides an op of many rows.
func cut(op ops.Op) []ops.Op {
	var out []ops.Op
	switch o := op.(type) {
	case *ops.PlanPods:
		for rest := o.Rows; len(rest) > 0; {
			n := min(len(rest), chunkRowsMax)
			out = append(out, &ops.PlanPods{Template: o.Template, Created: o.Created, Rows: rest[:n]})
			rest = rest[n:]
		}
	case *ops.DeletePods:
		for rest := o.Rows; len(rest) > 0; {
			n := min(len(rest), chunkRowsMax)
			out = append(out, &ops.DeletePods{Now: o.Now, Rows: rest[:n]})
			rest = rest[n:]
		}
	case *ops.PodStatuses:
		for rest := o.Rows; len(rest) > 0; {
			n := min(len(rest), chunkRowsMax/objectRows)
			out = append(out, &ops.PodStatuses{Rows: rest[:n]})
			rest = rest[n:]
		}
	default:
		return []ops.Op{op}
	}
	return out
}
