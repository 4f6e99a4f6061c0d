package server

import (
	"cmp"
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// awaitKnown waits until this server knows what the caller of a watch does. It was committed, since another server told it: so this does not
// take long behind a barrier.
func (s *Server) awaitKnown(ctx context.Context, since uint64) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	return s.state.WaitRevision(ctx, since)
}

// missed is what a node that knows the state as of a revision has missed: of everything that is different its last change, in the order of
// revisions, as if it had been told live. ok is false if that cannot be known any more.
func (s *Server) missed(w *nodeWatch, node string, since uint64, wanted map[schema.GroupResource]bool, view *fsm.View, pods []*api.PodRecord) (list []*api.Change, ok bool) {
	if since == 0 || w.moves && w.policies > 0 && !policedSince(view, since) {
		return nil, false
	}
	moves := w.moves && w.policies > 0
	for gr := range wanted {
		if gr == podAddresses {
			continue
		}
		gone, err := s.state.Departed(gr, since)
		if err != nil || w.moves && gr == fsm.Policies && len(gone) > 0 {
			return nil, false // of addresses that were told under a policy that is gone nobody would hear any more
		}
		for _, d := range gone {
			if d.Revision <= view.Revision() && (gr != volumesResource || d.Node == node) && (gr != fsm.Pods || moves || w.nodes[d.Node]) {
				list = append(list, departure(gr, d))
			}
		}
		if gr != fsm.Pods || moves {
			view.Table(gr).Since(gr, since, func(c *api.Change) {
				if tellsNode(node, c) {
					list = append(list, known(c))
				}
			})
			continue
		}
		for _, p := range pods {
			if p.Revision > since && (!w.fleet || concernsFleet(p)) {
				list = append(list, known(&api.Change{Revision: p.Revision, Resource: gr, Namespace: p.Namespace(), Name: p.Name, NewPod: p}))
			}
		}
	}
	slices.SortFunc(list, func(a, b *api.Change) int { return cmp.Compare(a.Revision, b.Revision) })
	return list, true
}

// policedSince says that there has been a policy all the while, so that the node was told where the pods of others are.
func policedSince(view *fsm.View, since uint64) bool {
	old := view.Table(fsm.Policies).Len()
	view.Table(fsm.Policies).Since(fsm.Policies, since, func(*api.Change) { old-- })
	return old > 0
}

// departure is a deletion of which no more is known.
func departure(gr schema.GroupResource, d fsm.Departed) *api.Change {
	c := &api.Change{Revision: d.Revision, Resource: gr, Namespace: d.Namespace, Name: d.Name}
	if gr == fsm.Pods {
		c.OldPod = &api.PodRecord{Name: d.Name, UID: d.UID, Node: d.Node}
	} else {
		c.Old = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, UID: d.UID}}
	}
	return c
}

// known makes a change from nothing one of something, where the difference would count: the node may have been told of the pod before, and
// the policy is counted already.
func known(c *api.Change) *api.Change {
	c.OldPod = c.NewPod
	if c.Resource == fsm.Policies {
		c.Old = c.New
	}
	return c
}

// resume tells what was missed.
func (s *Server) resume(w *nodeWatch, since uint64, missed []*api.Change, certificates bool) {
	w.send(&wire.Event{Type: wire.EventResumed, Revision: since})
	for _, c := range missed {
		if w.err == nil {
			w.err = s.pass(w, c, certificates)
		}
	}
}
