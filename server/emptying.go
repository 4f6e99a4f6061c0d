package server

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/aggregate"
	"github.com/peapod-sh/peapod/server/kube"
)

const (
	// emptyingGlance is how often the leader looks whether a namespace goes of which other API servers may have something.
	emptyingGlance = 250 * time.Millisecond
	// emptyingRetry is how soon they are asked again if something is left; each time doubles it, up to emptyingRetryMax.
	emptyingRetry    = 500 * time.Millisecond
	emptyingRetryMax = 30 * time.Second
	// emptyingMax is how many namespaces are emptied at a time.
	emptyingMax = 8
)

var namespacesResource = schema.GroupResource{Resource: "namespaces"}

// emptier has the API servers that the cluster leads to delete what they have of namespaces that go, in one term. The engine, which
// empties namespaces of all else, cannot ask anybody.
type emptier struct {
	*Server
	left map[types.UID]setback // of namespaces
}

// emptyAggregated runs until ctx ends.
func (s *Server) emptyAggregated(ctx context.Context) error {
	e := emptier{s, map[types.UID]setback{}}
	namespaces, services := s.state.Changes(namespacesResource), s.state.Changes(aggregate.Resource)
	ticker := time.NewTicker(emptyingGlance)
	defer ticker.Stop()
	var seen, served uint64
	for first := true; ; {
		if now := services(); now != served { // who did not answer may do so now
			served, first = now, true
			clear(e.left)
		}
		if now := namespaces(); first || now != seen || anyDue(e.left, s.now()) {
			seen, first = now, false
			e.once(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once empties the namespaces that go. Nothing stays known of those that are gone.
func (e *emptier) once(ctx context.Context) {
	serving := e.api.Load()
	if serving == nil {
		e.left[""] = setback{due: e.now()} // which is soon
		return
	}
	var list []*corev1.Namespace
	old := e.left
	e.left = map[types.UID]setback{}
	e.state.Table(namespacesResource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		n := o.(*corev1.Namespace)
		switch before := old[n.UID]; {
		case n.DeletionTimestamp == nil || !slices.Contains(n.Spec.Finalizers, api.AggregatedFinalizer):
		case e.now().Before(before.due):
			e.left[n.UID] = before
		default:
			list = append(list, n)
			e.left[n.UID] = setback{before.times + 1, e.now().Add(min(emptyingRetry<<min(before.times, 16), emptyingRetryMax))}
		}
		return true
	})
	var all errgroup.Group
	all.SetLimit(emptyingMax)
	for _, n := range list {
		all.Go(func() error {
			e.empty(ctx, serving, n)
			return nil
		})
	}
	_ = all.Wait() // none has an error
}

// empty asks for one namespace and writes down what is left, or that nothing is. A conflict is tried again, like everything else.
func (e *emptier) empty(ctx context.Context, serving *kube.Server, n *corev1.Namespace) {
	left := serving.EmptyServices(ctx, n.Name)
	if ctx.Err() != nil {
		return
	}
	o, there := e.state.Get(namespacesResource, "", n.Name)
	if !there || o.(*corev1.Namespace).UID != n.UID {
		return
	}
	n = o.(*corev1.Namespace) // which the engine may have written meanwhile
	next := n.DeepCopy()
	remains := remainsOf(left)
	conditions := remains.Failures()
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) { // until then the engine says what remains
		conditions = append(conditions, remains.Content()...)
	}
	reconcile.SetNamespaceConditions(&next.Status, e.now(), conditions...)
	if left.Nothing() {
		next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == api.AggregatedFinalizer })
	}
	if equality.Semantic.DeepEqual(next, n) {
		return
	}
	if err := e.attempt(ctx, []ops.Op{&ops.Put{Resource: namespacesResource, Object: next, Expect: revisionOf(n)}}); err != nil && ctx.Err() == nil {
		e.log.Debug("cannot say what other API servers have of a namespace; will try again", "namespace", n.Name, "error", err)
	}
}

func remainsOf(l *aggregate.Left) reconcile.Remains {
	return reconcile.Remains{Objects: l.Objects, Finalizers: l.Finalizers, Unknown: l.Unknown, Faults: l.Faults}
}
