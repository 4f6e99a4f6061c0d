package server

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

const (
	// tablesWait bounds how long an agent's question for the tables of all nodes stays open, whatever its own deadline.
	tablesWait = 10 * time.Second
	// tablesLook is how often a node that is waited for is looked at: it may have died.
	tablesLook = 100 * time.Millisecond
)

// tables are the revisions of the tables of services by which the nodes' proxies go, as the nodes tell this server. What a node
// has told holds while its heartbeats come: one that is not connected has confirmed nothing.
type tables struct {
	mu    sync.Mutex
	nodes map[string]*tableReport
}

type tableReport struct {
	revision uint64
	changed  chan struct{} // closed with the next change; nil while nobody waits
}

func newTables() *tables { return &tables{nodes: map[string]*tableReport{}} }

// report notes what a node says.
func (t *tables) report(node string, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.get(node); r.revision != revision {
		r.set(revision)
	}
}

// forget is called when a node's heartbeats end.
func (t *tables) forget(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.get(node).set(0)
	delete(t.nodes, node)
}

// reached says whether a node goes by a table of the revision or a later one. If not, news is closed when it says something else.
func (t *tables) reached(node string, revision uint64) (ok bool, news <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.get(node)
	if r.revision >= revision {
		return true, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return false, r.changed
}

// overlook forgets a node that nobody has heard here and that confirms nothing: only who waited for it knew of it.
func (t *tables) overlook(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.nodes[node]; r != nil && r.revision == 0 {
		r.set(0)
		delete(t.nodes, node)
	}
}

// get is called with mu held.
func (t *tables) get(node string) *tableReport {
	r := t.nodes[node]
	if r == nil {
		r = &tableReport{}
		t.nodes[node] = r
	}
	return r
}

func (r *tableReport) set(revision uint64) {
	r.revision = revision
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// awaitTablesForNode answers when no living node's proxy goes by a table from before the revision.
func (s *Server) awaitTablesForNode(ctx context.Context, _ rpc.Caller, q *wire.AwaitTables) (*wire.Empty, error) {
	ctx, cancel := context.WithTimeout(ctx, tablesWait)
	defer cancel()
	for _, node := range s.proxyNodes() {
		if err := s.awaitTable(ctx, node, q.Revision); err != nil {
			return nil, rpc.Errorf(rpc.CodeUnavailable, "node %s has not confirmed services as of revision %d: %v", node, q.Revision, err)
		}
	}
	return &wire.Empty{}, nil
}

func (s *Server) awaitTable(ctx context.Context, node string, revision uint64) error {
	for {
		ok, news := s.tables.reached(node, revision)
		if ok {
			return nil
		}
		if !s.proxies(node) {
			s.tables.overlook(node)
			return nil
		}
		select {
		case <-news:
		case <-time.After(tablesLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proxyNodes are the nodes whose proxies carry traffic now.
func (s *Server) proxyNodes() []string {
	var out []string
	s.state.Table(nodesResource).Ascend("", "", func(_, name string, o runtime.Object) bool {
		if proxiesTraffic(o.(*corev1.Node)) {
			out = append(out, name)
		}
		return true
	})
	return out
}

func (s *Server) proxies(node string) bool {
	o, ok := s.state.Get(nodesResource, "", node)
	return ok && proxiesTraffic(o.(*corev1.Node))
}

// proxiesTraffic leaves out the dead, and those that are not really there.
func proxiesTraffic(n *corev1.Node) bool {
	if n.Labels[api.SimulatedLabel] == "true" {
		return false
	}
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
