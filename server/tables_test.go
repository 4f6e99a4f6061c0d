package server

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

func TestTablesReached(t *testing.T) {
	f := newTables()
	ok, news := f.reached("n", 5)
	if ok {
		t.Fatal("a node that has said nothing confirms")
	}
	f.report("n", 4)
	wantClosed(t, news)
	if ok, news = f.reached("n", 5); ok {
		t.Fatal("revision 4 passes for 5")
	}
	f.report("n", 4)
	select {
	case <-news:
		t.Error("the same word again is news")
	default:
	}
	f.report("n", 6)
	wantClosed(t, news)
	if ok, _ = f.reached("n", 5); !ok {
		t.Error("revision 6 is not enough for 5")
	}
	_, news = f.reached("n", 7)
	f.forget("n")
	wantClosed(t, news)
	if ok, _ = f.reached("n", 5); ok {
		t.Error("a node that is not connected any more confirms")
	}
}

// Who waits for a node that nobody hears and that is gone then leaves nothing behind, and takes nothing from one that is heard.
func TestTablesOverlookWhoIsGone(t *testing.T) {
	f := newTables()
	_, news := f.reached("gone", 5)
	f.overlook("gone")
	wantClosed(t, news)
	if len(f.nodes) != 0 {
		t.Errorf("%d nodes are known", len(f.nodes))
	}
	f.report("heard", 5)
	f.overlook("heard")
	if ok, _ := f.reached("heard", 5); !ok {
		t.Error("a node that was heard has to say it again")
	}
}

func wantClosed(t *testing.T, news <-chan struct{}) {
	t.Helper()
	select {
	case <-news:
	default:
		t.Fatal("nobody is told")
	}
}

func tableNode(name string, ready corev1.ConditionStatus, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
}

// Dead and simulated nodes are not waited for, and one that dies meanwhile is not waited for any longer.
// Invariant 115.
func TestAwaitTables(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	nodes := s.client().CoreV1().Nodes()
	ctx := within(t, 30*time.Second)
	for _, n := range []*corev1.Node{tableNode("good", corev1.ConditionTrue, nil), tableNode("dying", corev1.ConditionTrue, nil),
		tableNode("dead", corev1.ConditionUnknown, nil), tableNode("sim", corev1.ConditionTrue, map[string]string{api.SimulatedLabel: "true"})} {
		if _, err := nodes.Create(ctx, n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := nodes.UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.server.proxyNodes(); !slices.Equal(got, []string{"dying", "good"}) {
		t.Fatalf("waited for would be %v", got)
	}
	s.server.tables.report("good", 10)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.server.awaitTablesForNode(short, rpc.Caller{}, &wire.AwaitTables{Revision: 10}); rpc.CodeOf(err) != rpc.CodeUnavailable {
		t.Errorf("one node has said nothing and the answer is %v", err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := s.server.awaitTablesForNode(ctx, rpc.Caller{}, &wire.AwaitTables{Revision: 10})
		answered <- err
	}()
	if _, err := nodes.UpdateStatus(ctx, tableNode("dying", corev1.ConditionUnknown, nil), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if n := len(s.server.tables.nodes); n != 1 {
		t.Errorf("%d nodes are remembered, and one was heard", n)
	}
}
