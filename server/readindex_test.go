package server

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

// slowReplica is a replica that applies commands when it is let.
type slowReplica struct {
	replica
	let chan struct{}
}

func (r slowReplica) ApplyBatch(logs []*raft.Log) []any {
	if logs[0].Type == raft.LogCommand {
		<-r.let
	}
	return r.replica.ApplyBatch(logs)
}

// aloneWith is the consensus of a server that is its own majority.
func aloneWith(t *testing.T, state raft.FSM) *consensus {
	t.Helper()
	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	address, transport := raft.NewInmemTransport("a")
	conf := raft.DefaultConfig()
	conf.LocalID, conf.BatchApplyCh, conf.Logger = "a", true, hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	members := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: address}}}
	if err := raft.BootstrapCluster(conf, store, store, snapshots, transport, members); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(conf, state, store, store, snapshots, transport)
	if err != nil {
		t.Fatal(err)
	}
	c := &consensus{name: "a", raft: r}
	eventually(t, "an election", func() error {
		if !c.Leading() {
			return fmt.Errorf("it is %s", r.State())
		}
		return nil
	})
	return c
}

// Invariant 203. A read sees all that was committed before it, also what a follower has applied and the leader has not yet.
func TestReadsSeeWhatIsCommitted(t *testing.T) {
	state, let := fsm.New(), make(chan struct{})
	s := &Server{state: state, consensus: aloneWith(t, slowReplica{replica{state, &vault{state: state}}, let})}
	s.ready.Store(true)
	defer func() {
		close(let)
		if err := s.consensus.raft.Shutdown().Error(); err != nil {
			t.Error(err)
		}
	}()
	put := &ops.Put{Resource: schema.GroupResource{Resource: "configmaps"}, Expect: ops.Absent, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}}}
	for _, c := range []struct {
		what string
		list []ops.Op
	}{{"a write", []ops.Op{put}}, {"an entry that says nothing", nil}} {
		entry, err := ops.Encode(c.list)
		if err != nil {
			t.Fatal(err)
		}
		future := s.consensus.raft.Apply(entry, time.Minute)
		eventually(t, c.what+" to be committed", func() error {
			if last := s.consensus.raft.LastIndex(); last == state.Index() || s.consensus.raft.CommitIndex() < last {
				return fmt.Errorf("the log ends at %d, %d is committed", last, s.consensus.raft.CommitIndex())
			}
			return nil
		})
		early, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if index, err := s.confirmOnce(early); err == nil {
			t.Fatalf("%s is committed and not applied: a read waits for entry %d only, and %d is applied", c.what, index, state.Index())
		}
		cancel()
		let <- struct{}{}
		if err := future.Error(); err != nil {
			t.Fatal(err)
		}
		index, err := s.confirmOnce(within(t, time.Minute))
		if err != nil || index != state.Index() || len(c.list) > 0 && index != future.Index() {
			t.Fatalf("after %s, entry %d, a read waits for entry %d, and %d is applied: %v", c.what, future.Index(), index, state.Index(), err)
		}
	}
}
