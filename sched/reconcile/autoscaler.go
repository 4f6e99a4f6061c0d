package reconcile

import (
	"fmt"
	"maps"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched/autoscale"
)

// Autoscalers is the resource of HorizontalPodAutoscalers, whose status this controller writes, with the scale of their targets.
var Autoscalers = schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}

// autoscaling is what the engine remembers of autoscalers, which lasts as long as its term.
type autoscaling struct {
	scalers map[types.NamespacedName]*scaler
}

type scaler struct {
	history autoscale.History
	usage   autoscale.Usage // of its namespace; nil once it has been looked at
}

func newAutoscaling() autoscaling { return autoscaling{map[types.NamespacedName]*scaler{}} }

func (e *Engine) noticedAutoscaler(old, o *object) {
	any := o
	if any == nil {
		any = old
	}
	k := types.NamespacedName{Namespace: any.ns, Name: any.name}
	if o == nil {
		delete(e.scalers, k)
	} else if e.scalers[k] == nil {
		e.scalers[k] = &scaler{}
	}
}

// Measured are the pods whose use the autoscalers want to know: by namespace, the nodes on which they run.
type Measured map[string][]string

// UsageWanted says what is to be measured before ObserveUsage is called. It is empty while there are no autoscalers.
func (e *Engine) UsageWanted() Measured {
	nodes := map[string]map[string]bool{}
	for k := range e.scalers {
		if nodes[k.Namespace] == nil {
			nodes[k.Namespace] = map[string]bool{}
		}
		o := e.object(Autoscalers, k.Namespace, k.Name)
		t := e.scaleTarget(o.obj.(*autoscalingv2.HorizontalPodAutoscaler))
		for _, p := range e.podsOf(k.Namespace, t.Selector) {
			if p.rec.Node != "" && p.rec.Phase() == corev1.PodRunning {
				nodes[k.Namespace][p.rec.Node] = true
			}
		}
	}
	out := Measured{}
	for ns, set := range nodes {
		out[ns] = slices.Sorted(maps.Keys(set))
	}
	return out
}

// ObserveUsage takes in what the pods of namespaces use, and lets every autoscaler there decide once.
func (e *Engine) ObserveUsage(byNamespace map[string]autoscale.Usage) {
	for k, s := range e.scalers {
		if u, measured := byNamespace[k.Namespace]; measured {
			s.usage = u
			e.mark(key{area: areaAutoscaler, ns: k.Namespace, name: k.Name})
		}
	}
}

func (e *Engine) syncAutoscaler(k key) {
	o, s := e.object(Autoscalers, k.ns, k.name), e.scalers[types.NamespacedName{Namespace: k.ns, Name: k.name}]
	if o == nil || s == nil || s.usage == nil || e.written[o.ref] || o.meta.GetDeletionTimestamp() != nil {
		return
	}
	a := o.obj.(*autoscalingv2.HorizontalPodAutoscaler)
	t := e.scaleTarget(a)
	if t.object != nil && e.written[t.object.ref] {
		return // the next sample is soon enough
	}
	t.gather(e, a.Namespace)
	d := autoscale.Decide(a, t.Target, s.usage, s.history, e.now)
	s.usage, s.history = nil, d.History
	if t.Err == nil && d.Replicas != t.Replicas {
		e.rescale(t, d.Replicas)
	}
	for _, ev := range d.Events {
		e.event(a, autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), ev.Type, ev.Reason, "horizontal-pod-autoscaler", ev.Message)
	}
	if !equality.Semantic.DeepEqual(d.Status, a.Status) {
		out := *a
		out.Status = d.Status
		e.put(Autoscalers, &out, o.rev)
	}
}

// scaleTarget is what an autoscaler scales, without its pods.
type scaleTarget struct {
	autoscale.Target
	object *object
	access *api.ScaleAccess
}

func (e *Engine) scaleTarget(a *autoscalingv2.HorizontalPodAutoscaler) (t scaleTarget) {
	r := a.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		t.Err = fmt.Errorf("invalid API version in scale target reference: %w", err)
		return t
	}
	gr, access := e.scalableKind(schema.GroupKind{Group: gv.Group, Kind: r.Kind})
	if access == nil {
		t.Err = fmt.Errorf("no matches for kind %q in group %q", r.Kind, gv.Group)
		return t
	}
	if t.object = e.object(gr, a.Namespace, r.Name); t.object == nil {
		t.Err = fmt.Errorf("%s %q not found", gr, r.Name)
		return t
	}
	if t.Err = access.Check(t.object.obj); t.Err != nil {
		return t
	}
	t.access = access
	t.Replicas, t.Current, t.Selector = access.Get(t.object.obj)
	return t
}

// gather adds the target's pods.
func (t *scaleTarget) gather(e *Engine, ns string) {
	for _, p := range e.podsOf(ns, t.Selector) {
		t.Pods = append(t.Pods, p.rec.Pod())
	}
}

// podsOf are the pods of a namespace that a selector in its text form selects, by name.
func (e *Engine) podsOf(ns, selector string) []*pod {
	s, err := labels.Parse(selector)
	sp := e.spaces[ns]
	if err != nil || s.Empty() || sp == nil {
		return nil
	}
	var out []*pod
	for p := range sp.pods.all() {
		if s.Matches(labels.Set(p.rec.Labels())) {
			out = append(out, p)
		}
	}
	return podsByName(slices.Values(out))
}

func (e *Engine) rescale(t scaleTarget, n int32) {
	out := t.object.obj.DeepCopyObject()
	t.access.Set(out, n)
	m := mustMeta(out)
	m.SetGeneration(m.GetGeneration() + 1)
	e.put(t.object.gr, out, t.object.rev)
}
