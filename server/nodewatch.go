package server

import (
	"cmp"
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// watchNode streams what the caller's node must do and know: its own pods and volumes, and whole tables that any
// node may read.
func (s *Server) watchNode(ctx context.Context, from rpc.Caller, q *wire.WatchRequest, stream *rpc.Stream) error {
	wanted := map[schema.GroupResource]bool{}
	for _, r := range q.Resources {
		gr := schema.ParseGroupResource(r)
		if !mayWatch(from.Role, gr) {
			return rpc.Errorf(rpc.CodeDenied, wire.RefusedWatch+"%s", gr)
		}
		wanted[gr] = true
	}
	// A server that has just started knows nothing: to tell a node that would make it kill its pods.
	if err := s.store.Barrier(ctx); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	nodes, err := nodesOf(from.Peer, q.Nodes)
	if err != nil {
		return err
	}
	if err := s.awaitKnown(ctx, q.Since); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	follow := fsm.Following{Nodes: nodes, Moves: wanted[podAddresses], Also: func(c *api.Change) bool { return wanted[c.Resource] && tellsNode(from.Name, c) }}
	if from.Role == pki.RoleFleet {
		follow.Pods = func(c *api.Change) bool { return concernsFleet(c.NewPod) }
	}
	view, pods, tail := s.state.TailNodes(follow)
	defer tail.Close()
	w := nodeWatch{stream: stream, fleet: from.Role == pki.RoleFleet, nodes: map[string]bool{}, moves: wanted[podAddresses], now: s.state.View}
	for _, n := range nodes {
		w.nodes[n] = true
	}
	w.policies = view.Table(fsm.Policies).Len()
	if missed, ok := s.missed(&w, from.Name, q.Since, wanted, view, pods); ok {
		s.resume(&w, q.Since, missed, wanted[secretsResource])
	} else {
		s.putAll(&w, from.Name, wanted, view, pods)
	}
	w.send(&wire.Event{Type: wire.EventSynced, Revision: view.Revision()})
	for {
		if err := cmp.Or(w.err, stream.Flush()); err != nil {
			return err
		}
		changes, err := tail.Next(ctx)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := s.pass(&w, c, wanted[secretsResource]); err != nil {
				return err
			}
		}
	}
}

// putAll sends all that exists of what a node asks for.
func (s *Server) putAll(w *nodeWatch, node string, wanted map[schema.GroupResource]bool, view *fsm.View, pods []*api.PodRecord) {
	for gr := range wanted {
		if gr != fsm.Pods && gr != podAddresses {
			view.Table(gr).Ascend("", "", func(ns, name string, obj runtime.Object) bool {
				c := &api.Change{Resource: gr, Namespace: ns, Name: name, New: obj}
				return !tellsNode(node, c) || !s.shows(c) || w.put(gr, obj) == nil
			})
		}
	}
	for _, p := range pods {
		if !w.fleet || concernsFleet(p) {
			w.putPod(p)
		}
	}
	if w.moves && w.policies > 0 {
		w.putAddresses(view)
	}
}

// mayWatch says what agents may ask for. Of their pods, of volumes and of Secrets they hear their own, or what all nodes need; a fleet
// serves no ingresses.
func mayWatch(role pki.Role, gr schema.GroupResource) bool {
	return gr == fsm.Pods || gr == podAddresses || gr == volumesResource || nodeMayList[gr] || gr == secretsResource && role != pki.RoleFleet
}

// nodeMayList are the tables that every node reads whole.
var nodeMayList = map[schema.GroupResource]bool{
	nodesResource:          true,
	{Resource: "services"}: true,
	{Resource: "endpointslices", Group: "discovery.k8s.io"}: true,
	fsm.Policies:             true,
	{Resource: "namespaces"}: true,
	ingressesResource:        true,
	ingressClassesResource:   true,
}

// podAddresses is no table: see wire.PodAddresses.
var podAddresses = schema.GroupResource{Resource: wire.PodAddresses}

// nodeWatch writes events and remembers its first error.
type nodeWatch struct {
	stream interface{ Queue(message any) error }
	nodes  map[string]bool
	fleet  bool
	pods   api.PodEncoder
	pod    []byte // encoded last; what is queued is a copy
	err    error

	moves    bool             // the node is to hear where the pods of others are
	policies int              // network policies that it was told of
	now      func() *fsm.View // the state as it is
}

func (w *nodeWatch) send(e *wire.Event) {
	if w.err == nil {
		w.err = w.stream.Queue(e)
	}
}

func (w *nodeWatch) put(gr schema.GroupResource, obj runtime.Object) error {
	b, err := api.Encode(obj)
	if err != nil {
		w.err = err
		return err
	}
	return w.putEncoded(gr, obj, b)
}

// encodedKey is where a change keeps its object's encoding for all nodes that hear of it.
type encodedKey struct{}

// putChange sends a changed object, encoded once for all nodes.
func (w *nodeWatch) putChange(c *api.Change) error {
	if b, ok := c.Shared().Load(encodedKey{}); ok {
		return w.putEncoded(c.Resource, c.New, b.([]byte))
	}
	b, err := api.Encode(c.New)
	if err != nil {
		w.err = err
		return err
	}
	c.Shared().Store(encodedKey{}, b)
	return w.putEncoded(c.Resource, c.New, b)
}

func (w *nodeWatch) putEncoded(gr schema.GroupResource, obj runtime.Object, b []byte) error {
	m := obj.(metav1.Object)
	w.send(&wire.Event{Type: wire.EventPut, Resource: gr.String(), Namespace: m.GetNamespace(), Name: m.GetName(),
		UID: string(m.GetUID()), Object: b, Revision: revisionOf(obj)})
	return w.err
}

func (w *nodeWatch) putPod(p *api.PodRecord) error {
	b, err := w.pods.AppendProto(w.pod[:0], p)
	if err != nil {
		w.err = err
		return err
	}
	w.pod = b
	w.send(&wire.Event{Type: wire.EventPut, Resource: fsm.Pods.String(), Namespace: p.Namespace(), Name: p.Name,
		UID: string(p.UID), Object: b, Revision: p.Revision})
	return w.err
}

func (w *nodeWatch) owns(p *api.PodRecord) bool { return p != nil && w.nodes[p.Node] }

func (w *nodeWatch) change(c *api.Change) error {
	if w.moves && c.Resource == fsm.Policies {
		w.countPolicies(c)
	}
	switch {
	case c.Resource == fsm.Pods && !w.owns(c.OldPod) && !w.owns(c.NewPod):
		return w.moved(c)
	case c.NewPod != nil && w.nodes[c.NewPod.Node]:
		return w.putPod(c.NewPod)
	case c.New != nil:
		return w.putChange(c)
	}
	e := &wire.Event{Type: wire.EventDeleted, Resource: c.Resource.String(), Namespace: c.Namespace, Name: c.Name, Revision: c.Revision}
	if c.OldPod != nil {
		e.UID = string(c.OldPod.UID)
	} else if m, ok := c.Old.(metav1.Object); ok {
		e.UID = string(m.GetUID())
	}
	w.send(e)
	return w.err
}
