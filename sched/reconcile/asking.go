package reconcile

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// Ask is pods of one workload that the engine may not make by itself, since somebody wants to be asked about each: a webhook, a policy, a
// quota. Whoever runs the engine creates them as any client would, and says what became of them with Answered. Until then the workload
// gets no more pods.
type Ask struct {
	Kind            schema.GroupVersionKind
	Namespace, Name string // of the workload
	Pods            []*corev1.Pod
}

// asking is the workloads whose pods are asked about.
type asking struct {
	asked map[ref]bool // in this step
	asks  map[ref]*Ask // of this step
	held  map[ref]hold
}

// hold keeps a workload from getting pods: while it is waited for an answer, and for a while after a refusal.
type hold struct {
	waiting  bool
	refusals int
	until    time.Time
	why      string
}

func newAsking() asking {
	return asking{asked: map[ref]bool{}, asks: map[ref]*Ask{}, held: map[ref]hold{}}
}

const (
	askAgainMin = 500 * time.Millisecond
	askAgainMax = 30 * time.Second
)

// ask notes whether a workload's pod is to be asked about. It is false, and says why, while there is an answer to wait for or a refusal
// is fresh.
func (e *Engine) ask(w workload, p *corev1.Pod) (why string, ok bool) {
	if h, there := e.held[w.ref]; there {
		if h.waiting {
			return "", false
		}
		if e.now.Before(h.until) {
			e.wake(key{area: workloadAreas[w.gr], ns: w.ns, name: w.name}, h.until)
			return h.why, false
		}
	}
	if e.cfg.Asked == nil || !e.cfg.Asked(p, Facts{&e.model}) {
		delete(e.held, w.ref)
		return "", true
	}
	e.asked[w.ref] = true
	e.asks[w.ref] = &Ask{Kind: w.gvk, Namespace: w.ns, Name: w.name}
	return "", true
}

// divert takes the plans of pods that are to be asked about out of what is committed.
func (e *Engine) divert(plans []ops.Op) []ops.Op {
	if len(e.asked) == 0 {
		return plans
	}
	return slices.DeleteFunc(plans, func(op ops.Op) bool {
		plan, ok := op.(*ops.PlanPods)
		if !ok {
			return false
		}
		w := controllerOf(plan.Template)
		for r, ask := range e.asks {
			if w == nil || r.ns != plan.Template.Namespace || r.name != w.Name || ask.Kind.Kind != w.Kind {
				continue
			}
			for i := range plan.Rows {
				ask.Pods = append(ask.Pods, e.askedPod(plan.Template, &plan.Rows[i]))
			}
			e.held[r] = hold{waiting: true, refusals: e.held[r].refusals}
			return true
		}
		return false
	})
}

// askedPod is a planned pod as a client would create it. Where it goes is decided anew when it is there: an answer may change what it needs.
func (e *Engine) askedPod(t *corev1.Pod, row *ops.PlanRow) *corev1.Pod {
	p := t.DeepCopy()
	p.Name = p.GenerateName + row.Suffix
	p.Status = corev1.PodStatus{}
	if row.Node != "" {
		e.table.RemovePod(row.UID)
		if w := controllerOf(t); w.Kind == "DaemonSet" {
			api.PinTo(&p.Spec, row.Node)
		}
	}
	return p
}

// Asks are the pods to ask about that the last step wants, each to be answered.
func (e *Engine) Asks() (out []Ask) {
	for _, a := range e.asks {
		if len(a.Pods) > 0 {
			out = append(out, *a)
		}
	}
	slices.SortFunc(out, func(a, b Ask) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind.Kind, b.Kind.Kind))
	})
	clear(e.asks)
	return out
}

// Answered tells which pods of an ask were created, which have been observed by now, and why one was not, "" if all were.
func (e *Engine) Answered(a Ask, now time.Time, created []string, why string) {
	e.now = now
	r := ref{workloadResources[a.Kind.Kind], a.Namespace, a.Name}
	h := e.held[r]
	delete(e.held, r)
	o := e.objects[r]
	if o == nil {
		return
	}
	obj, ok := o.obj.(interface {
		runtime.Object
		metav1.Object
	})
	if !ok {
		return
	}
	component := componentOf[a.Kind.Kind]
	for _, name := range created[:min(len(created), eventsPerStepMax)] {
		e.event(obj, a.Kind, corev1.EventTypeNormal, "SuccessfulCreate", component, "Created pod: "+name)
	}
	if why != "" {
		e.event(obj, a.Kind, corev1.EventTypeWarning, reasonRefused, component, "Error creating: "+why)
		e.held[r] = hold{refusals: h.refusals + 1, why: why, until: now.Add(min(askAgainMin<<min(h.refusals, 10), askAgainMax))}
	}
	e.markObject(o)
	e.failedDaemon(o.meta.GetUID()) // of a DaemonSet, all nodes are looked at again
}

// markAsked lets refused pods be asked about again at once, since what is asked has changed.
func (e *Engine) markAsked() {
	for r, h := range e.held {
		if o := e.objects[r]; o == nil && !h.waiting {
			delete(e.held, r)
		} else if o != nil && !h.waiting {
			e.held[r] = hold{}
			e.markObject(o)
		}
	}
}

var workloadResources = map[string]schema.GroupResource{"ReplicaSet": ReplicaSets, "ReplicationController": ReplicationControllers, "DaemonSet": DaemonSets, "StatefulSet": StatefulSets, "Job": Jobs}

// componentOf signs the events of each kind of workload.
var componentOf = map[string]string{"ReplicaSet": "replicaset-controller", "ReplicationController": "replication-controller", "DaemonSet": "daemonset-controller",
	"StatefulSet": "statefulset-controller", "Job": "job-controller"}
