package link

import (
	"context"
	"testing"

	"github.com/peapod-sh/peapod/rpc"
)

// Every server hears by which table the node goes; a server of before there was the question is no reason to wait.
func TestTablesAreTold(t *testing.T) {
	a, b, l := world(t)
	for revision, prompt := range map[uint64]bool{7: false, 9: true} {
		l.ReportTable(revision, prompt)
		for _, s := range []*fakeServer{a, b} {
			eventually(t, "the table is told", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.table == revision })
		}
	}
	if err := l.AwaitTables(context.Background(), 9); err != nil || a.asked != 9 {
		t.Errorf("%v; asked for %d", err, a.asked)
	}
	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.refuse = rpc.Errorf(rpc.CodeNotFound, "there is no such method") })
	}
	if err := l.AwaitTables(context.Background(), 9); rpc.CodeOf(err) != rpc.CodeNotFound {
		t.Errorf("error %v, want the refusal at once", err)
	}
}
