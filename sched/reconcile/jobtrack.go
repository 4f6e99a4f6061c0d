package reconcile

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The pods of a job carry a finalizer until the job's status has them, so that a pod that is deleted, or collected as one of too many, is
// counted nevertheless, and once, whoever leads meanwhile: first the status names the pod, then the finalizer goes, then the status
// has it in its counters and names it no more.

// tracks says whether the pod carries the finalizer.
func tracks(p *pod) bool {
	return slices.Contains(p.rec.Template.Pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func withoutTracking(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == batchv1.JobTrackingFinalizer })
}

func withTracking(finalizers []string) []string {
	return append(withoutTracking(finalizers), batchv1.JobTrackingFinalizer)
}

// untracked says whether the pod is gone, or has lost the finalizer.
func (m *model) untracked(uid types.UID) bool {
	p := m.podsByUID.get(string(uid))
	return p == nil || !tracks(p)
}

// chosen are some of an owner's pods, by name.
func chosen(f *flock, keep func(*pod) bool) []*pod {
	return podsByName(func(yield func(*pod) bool) {
		for _, p := range f.pods {
			if keep(p) && !yield(p) {
				return
			}
		}
	})
}

func uidSet(lists ...[]types.UID) map[types.UID]bool {
	set := map[types.UID]bool{}
	for _, list := range lists {
		for _, uid := range list {
			set[uid] = true
		}
	}
	return set
}

// track names in the status the pods that have ended, and lets go those that the log's status names already.
func (r *jobRun) track() {
	u, was := r.s.UncountedTerminatedPods, r.j.Status.UncountedTerminatedPods
	named, logged := uidSet(u.Succeeded, u.Failed), map[types.UID]bool{}
	if was != nil {
		logged = uidSet(was.Succeeded, was.Failed)
	}
	done, lost := parseIndexes(r.j.Status.CompletedIndexes, 1<<31-1), parseIndexes(deref(r.j.Status.FailedIndexes), 1<<31-1)
	for _, p := range r.ended {
		if r.e.written[ref{Pods, p.ns(), p.name()}] || r.end == nil && r.held[completionIndex(p)] == p {
			continue
		}
		well := p.rec.Phase() == corev1.PodSucceeded
		if !well && !r.hasFailed(p) && r.end == nil {
			continue
		}
		byUID, recorded := r.recordOf(p, well, done, lost)
		if byUID && !named[p.rec.UID] && len(u.Succeeded)+len(u.Failed) < uncountedPodsMax {
			if well {
				u.Succeeded = append(u.Succeeded, p.rec.UID)
			} else {
				u.Failed = append(u.Failed, p.rec.UID)
			}
		}
		if recorded && (!byUID || logged[p.rec.UID]) {
			r.e.untrack(p)
		}
	}
}

// recordOf says whether an ended pod is named by its UID, and whether what else it means is in the log already: that its index has
// succeeded or failed, or that the job has.
func (r *jobRun) recordOf(p *pod, well bool, done, lost indexes) (byUID, recorded bool) {
	i := completionIndex(p)
	switch {
	case r.indexed() && !r.valid(i):
		return false, true
	case well && r.indexed():
		return false, done.has(i)
	case well:
		return true, true
	}
	recorded = !r.lost.has(i) || lost.has(i)
	if action, _ := r.ruleFor(p); r.hasFailed(p) && action == batchv1.PodFailurePolicyActionFailJob {
		recorded = recorded && r.e.announced(&r.j.Status) != nil
	}
	return r.counts(p), recorded
}

// untrack takes the finalizer off a pod; if that was what kept it, the pod goes.
func (e *Engine) untrack(p *pod) {
	r := ref{Pods, p.ns(), p.name()}
	if e.written[r] || p.doom != stays {
		return
	}
	without := func(m metav1.Object) []string { return withoutTracking(m.GetFinalizers()) }
	if p.rec.Deleting() {
		e.dropPodFinalizer(p, without)
		return
	}
	np := p.rec.Pod()
	np.Finalizers = without(np)
	e.put(Pods, np, p.rec.Revision)
}

func (e *Engine) untrackAll(f *flock) {
	for _, p := range chosen(f, tracks) {
		e.untrack(p)
	}
}

// untrackEnded lets the pods of a job go that is going itself.
func (e *Engine) untrackEnded(f *flock) {
	for _, p := range chosen(f, func(p *pod) bool { return (p.rec.Deleting() || p.rec.Terminal()) && tracks(p) }) {
		e.untrack(p)
	}
}

// syncTracked takes the finalizer off a pod that no job will count.
func (e *Engine) syncTracked(k key) {
	p := e.pod(k.ns, k.name)
	if p == nil || !tracks(p) {
		return
	}
	if w := controllerOf(p.rec.Template.Pod); w != nil && w.Kind == jobKind.Kind {
		if r, there := e.exists(w.UID); there && r.gr == Jobs && r.ns == k.ns {
			return
		}
	}
	e.untrack(p)
}

func trackedKey(p *pod) key { return key{area: areaTracked, ns: p.ns(), name: p.name()} }

// discard deletes an active pod that the job no longer wants. It is no failure, so the finalizer goes in the same write.
func (e *Engine) discard(p *pod) {
	r := ref{Pods, p.ns(), p.name()}
	if p.deleting() || e.written[r] {
		return
	}
	np := p.rec.Pod()
	np.Finalizers = withoutTracking(np.Finalizers)
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if g := np.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = max(*g, 0)
	}
	if np.Spec.NodeName == "" {
		grace = 0
	}
	if p.doom = leaving; grace == 0 && len(np.Finalizers) == 0 {
		p.doom = gone
		e.remove(&object{ref: r, obj: np, meta: np, rev: p.rec.Revision})
	} else {
		at := metav1.NewTime(time.Unix(e.now.Unix()+grace, 0))
		np.DeletionTimestamp, np.DeletionGracePeriodSeconds = &at, &grace
		np.Generation++
		e.put(Pods, np, p.rec.Revision)
	}
	e.countLeaving(p)
	e.recount(p)
	e.memberChanged(p)
}
