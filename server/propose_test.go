package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// scriptedLog is a log that applies at once, fails as told, and remembers its entries.
type scriptedLog struct {
	leading atomic.Bool
	nudged  chan struct{} // nil: nobody asks
	mu      sync.Mutex
	entries [][]ops.Op
	fail    []error // for the next entries
}

type future struct {
	raft.ApplyFuture
	err      error
	response []ops.Result
}

func (f future) Error() error  { return f.err }
func (f future) Response() any { return f.response }
func (f future) Index() uint64 { return 1 }

func (l *scriptedLog) Leading() bool { return l.leading.Load() }

func (l *scriptedLog) Nudge() {
	select {
	case l.nudged <- struct{}{}:
	default:
	}
}

func (l *scriptedLog) Apply(entry []byte, _ time.Duration) raft.ApplyFuture {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return future{err: err}
	}
	list, err := ops.Decode(entry)
	if err != nil {
		return future{err: err}
	}
	l.entries = append(l.entries, list)
	out := make([]ops.Result, len(list))
	for i, op := range list {
		out[i] = ops.Result{Rows: []ops.Outcome{ops.Applied}, Detail: op.(*ops.PutMeta).Key}
	}
	return future{response: out}
}

// toLeader forwards to another log, or fails.
type toLeader struct {
	log  *scriptedLog
	fail []error
	mu   sync.Mutex
}

func (f *toLeader) Forward(_ context.Context, encoded []byte) (*wire.WriteReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fail) > 0 {
		err := f.fail[0]
		f.fail = f.fail[1:]
		return nil, err
	}
	a := f.log.Apply(encoded, 0)
	return &wire.WriteReply{Results: ops.EncodeResults(a.Response().([]ops.Result)), Index: a.Index()}, nil
}

func startProposer(t *testing.T, l log, f forwarder) *proposer {
	t.Helper()
	p := newProposer(l, f, func(context.Context, uint64) error { return nil })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return p
}

// Invariant 17: every proposer gets the results of its own ops, however they were batched.
func TestEveryProposalGetsItsOwnResults(t *testing.T) {
	for _, leading := range []bool{true, false} {
		t.Run(fmt.Sprintf("leading=%v", leading), func(t *testing.T) {
			l := &scriptedLog{}
			l.leading.Store(leading)
			p := startProposer(t, l, &toLeader{log: l})
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
					got, err := p.Propose(context.Background(), &ops.PutMeta{Key: a}, &ops.PutMeta{Key: b})
					if err != nil || len(got) != 2 || got[0].Detail != a || got[1].Detail != b {
						t.Errorf("proposal %d got %+v, %v", i, got, err)
					}
				})
			}
			wg.Wait()
			total := 0
			for _, e := range l.entries {
				total += len(e)
			}
			if total != 400 {
				t.Errorf("%d ops in the log, want 400", total)
			}
		})
	}
}

// Invariant 13: what was not proposed is tried again; what may have been is not, and says so.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name    string
		leading bool
		fail    error
		want    error
		entries int
	}{
		{"not the leader after all", true, raft.ErrNotLeader, nil, 1},
		{"queue full", true, raft.ErrEnqueueTimeout, nil, 1},
		{"leadership lost under way", true, raft.ErrLeadershipLost, ErrUnknownOutcome, 0},
		{"leader not reached", false, errNotLeader, nil, 1},
		{"connection lost under way", false, ErrUnknownOutcome, ErrUnknownOutcome, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &scriptedLog{}
			f := &toLeader{log: l}
			l.leading.Store(c.leading)
			if c.leading {
				l.fail = []error{c.fail}
			} else {
				f.fail = []error{c.fail}
			}
			p := startProposer(t, l, f)
			_, err := p.Propose(context.Background(), &ops.PutMeta{Key: "k"})
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if len(l.entries) != c.entries {
				t.Errorf("%d entries, want %d", len(l.entries), c.entries)
			}
		})
	}
}

func TestNoLeaderInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make([]error, 100)
		for i := range never {
			never[i] = errNotLeader
		}
		p := startProposer(t, &scriptedLog{}, &toLeader{fail: never})
		ctx, cancel := context.WithTimeout(context.Background(), 5*retryPause+retryPause/2) // between two tries
		defer cancel()
		if _, err := p.Propose(ctx, &ops.PutMeta{Key: "k"}); !errors.Is(err, ErrNoLeader) {
			t.Errorf("error %v, want ErrNoLeader", err)
		}
	})
}

// What its caller has given up before anybody took it is not written later, and the caller knows that. Invariant 13.
func TestGivenUpIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &scriptedLog{}
		l.leading.Store(true)
		p := newProposer(l, nil, nil)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := p.Propose(ctx, &ops.PutMeta{Key: "late"}); !errors.Is(err, ErrNoLeader) {
			t.Errorf("error %v, want ErrNoLeader", err)
		}
		run, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(run) })
		if _, err := p.Propose(run, &ops.PutMeta{Key: "next"}); err != nil {
			t.Error(err)
		}
		stop()
		wg.Wait()
		if len(l.entries) != 1 || len(l.entries[0]) != 1 || l.entries[0][0].(*ops.PutMeta).Key != "next" {
			t.Errorf("written: %v", l.entries)
		}
	})
}

func TestTooLarge(t *testing.T) {
	p := startProposer(t, &scriptedLog{}, nil)
	_, err := p.Propose(context.Background(), &ops.PutMeta{Key: "k", Value: make([]byte, proposalBytesMax+1)})
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
}

func TestChunks(t *testing.T) {
	plan := &ops.PlanPods{Created: 1, Rows: make([]ops.PlanRow, 2500)}
	list := []ops.Op{&ops.PutMeta{Key: "first"}, plan, &ops.PutMeta{Key: "last"}}
	rows := 0
	var order []string
	for _, part := range chunks(list) {
		n := 0
		for _, op := range part {
			n += rowCount(op)
			switch o := op.(type) {
			case *ops.PlanPods:
				rows += len(o.Rows)
			case *ops.PutMeta:
				order = append(order, o.Key)
			}
		}
		if n > chunkRowsMax {
			t.Errorf("a chunk has %d rows", n)
		}
	}
	if rows != 2500 || len(order) != 2 || order[0] != "first" {
		t.Errorf("%d rows and %v after cutting", rows, order)
	}
}

// Nobody reads while an entry is applied, so pods that take few bytes fill one as others do.
func TestEntriesAreShort(t *testing.T) {
	p := newProposer(&scriptedLog{}, nil, nil)
	for range 5 {
		if _, err := p.enqueueHere(t.Context(), []byte{1}, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if _, err := p.enqueueHere(t.Context(), []byte{1}, 10); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for n := 0; n < 10; n += sizes[len(sizes)-1] {
		sizes = append(sizes, len(p.in.collect(t.Context())))
	}
	if !slices.Equal(sizes, []int{2, 2, 6}) {
		t.Fatalf("entries of %v proposals", sizes)
	}
}

// A reader that comes while a round is under way must not get that round's index.
func TestBarrierRounds(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	var index atomic.Uint64
	b := &barrier{confirm: func(context.Context) (uint64, error) {
		i := index.Add(1)
		begun <- struct{}{}
		<-finish
		return i, nil
	}}
	results := make(chan uint64, 3)
	read := func() {
		i, err := b.Index(context.Background())
		if err != nil {
			t.Error(err)
		}
		results <- i
	}
	go read()
	<-begun
	go read()
	go read()
	for waiting := 0; waiting == 0; { // the late readers wait for a round of their own
		b.mu.Lock()
		if b.next != nil {
			waiting++
		}
		b.mu.Unlock()
	}
	finish <- struct{}{}
	if got := <-results; got != 1 {
		t.Errorf("the first reader got round %d", got)
	}
	<-begun
	finish <- struct{}{}
	if got := <-results; got < 2 {
		t.Errorf("a late reader got round %d", got)
	}
	for {
		select {
		case <-begun:
			finish <- struct{}{}
		case got := <-results:
			if got < 2 {
				t.Errorf("a late reader got round %d", got)
			}
			return
		}
	}
}
