package server

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// slowLog answers when it is told to.
type slowLog struct {
	scriptedLog
	answer chan struct{}
}

type lateFuture struct {
	raft.ApplyFuture
	answer chan struct{}
}

func (f lateFuture) Error() error { <-f.answer; return nil }

func (l *slowLog) Apply(entry []byte, wait time.Duration) raft.ApplyFuture {
	return lateFuture{l.scriptedLog.Apply(entry, wait), l.answer}
}

// Invariant 207: a term takes in what is committed while its own proposals are under way.
func TestATermTakesInWhileItWaits(t *testing.T) {
	l := &slowLog{answer: make(chan struct{})}
	l.leading.Store(true)
	p := startProposer(t, l, nil)
	state := fsm.New()
	_, tail := state.TailAll(func(*api.Change) bool { return true })
	defer tail.Close()
	w := &term{state: state, proposer: p, engine: reconcile.New(reconcile.Config{}), breath: &breather{}, log: hclog.NewNullLogger()}
	done := make(chan error, 1)
	go func() { done <- w.commit(t.Context(), tail, []ops.Op{&ops.PutMeta{Key: "k"}}) }()
	entry, err := ops.Encode([]ops.Op{&ops.Put{Resource: nodesResource, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}}})
	if err != nil {
		t.Fatal(err)
	}
	state.Apply(1, entry)
	for wait := 0; len(tail.Ready()) > 0; wait++ {
		if wait == 5000 {
			t.Error("it has not looked at what was committed")
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Fatal("it did not wait for its own", err)
	default:
	}
	close(l.answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
