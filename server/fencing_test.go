package server

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/fence"
)

// What a leader has decided no other leader carries out, though all else is passed on. Invariant 87.
func TestDecisionsStayWithTheirLeader(t *testing.T) {
	l := &scriptedLog{}
	p := startProposer(t, l, &toLeader{log: l})
	encoded, err := ops.Encode([]ops.Op{&ops.PutMeta{Key: "decision"}})
	if err != nil {
		t.Fatal(err)
	}
	done, err := p.enqueueHere(t.Context(), encoded, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a := <-done; !errors.Is(a.err, errNotLeader) {
		t.Errorf("a follower answered %+v", a)
	}
	if _, err := p.Propose(t.Context(), &ops.PutMeta{Key: "wish"}); err != nil {
		t.Error(err)
	}
	if len(l.entries) != 1 || l.entries[0][0].(*ops.PutMeta).Key != "wish" {
		t.Errorf("the leader's log has %v", l.entries)
	}
	l.leading.Store(true)
	if done, err = p.enqueueHere(t.Context(), encoded, 0); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.err != nil {
		t.Errorf("a leader answered %+v", a)
	}
}

// A lease comes through any server as long as a majority follows the leader, and not after. Invariant 87.
func TestLeasesNeedAMajority(t *testing.T) {
	all := newCluster3(t)
	leader, others := leaderOf(t, all)
	ask := func(s *testServer) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reply, err := s.server.lease(ctx, "n")
		if err == nil && (reply.Length != fence.Default().Lease || reply.Renew <= 0) {
			t.Errorf("granted %+v", reply)
		}
		return err
	}
	eventually(t, "a term's leases", func() error {
		if leader.server.leases.Load() == nil {
			return errors.New("none")
		}
		return nil
	})
	if err := ask(leader); err == nil {
		t.Error("a node that nobody knows has a lease")
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n"}}
	if _, err := leader.server.store.Propose(t.Context(), &ops.Put{Resource: nodesResource, Object: n, Expect: ops.Absent}); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		eventually(t, "a lease", func() error { return ask(s) })
	}
	before := leader.server.leases.Load()
	others[0].stop()
	others[1].stop()
	if err := ask(leader); err == nil {
		t.Error("a leader that nobody follows any more gave a lease")
	}
	if at := before.Bar("n"); at.Before(leader.server.now().Add(fence.Default().Lease / 2)) {
		t.Errorf("the last lease has ended at %v already", at)
	}
}
