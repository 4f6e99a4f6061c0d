package reconcile

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// jobCount is what a job's pods have come to. succeeded and failed are also those that the counters of the status do not have yet.
type jobCount struct {
	active, succeeded, failed int32
	terminating               int32  // that are being deleted and may end well yet
	tracked                   int    // pods that carry the finalizer
	ended                     []*pod // those of them that have ended or are to end, by name
	done, lost                indexes
	held                      map[int]*pod
}

// settle moves into the counters of the status what has ended, was written down and let go since.
func (r *jobRun) settle() {
	if r.s.UncountedTerminatedPods == nil {
		r.s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	u := r.s.UncountedTerminatedPods
	was := len(u.Succeeded)
	u.Succeeded = slices.DeleteFunc(u.Succeeded, r.e.untracked)
	r.s.Succeeded += int32(was - len(u.Succeeded))
	was = len(u.Failed)
	u.Failed = slices.DeleteFunc(u.Failed, r.e.untracked)
	r.s.Failed += int32(was - len(u.Failed))
}

// survey counts the pods. A pod without the finalizer has been counted before, or was not to be.
func (r *jobRun) survey() {
	u := r.s.UncountedTerminatedPods
	r.succeeded, r.failed = r.s.Succeeded+int32(len(u.Succeeded)), r.s.Failed+int32(len(u.Failed))
	for _, p := range r.f.pods {
		switch {
		case !p.counted.controlled:
			continue
		case p.counted.active:
			r.active++
		case p.counted.terminating:
			r.terminating += one(!r.hasFailed(p))
		}
		r.tracked += int(one(tracks(p)))
	}
	r.ended = chosen(r.f, func(p *pod) bool { return p.counted.controlled && (p.rec.Terminal() || p.deleting()) && tracks(p) })
	if r.indexed() {
		r.surveyIndexes()
	}
	known := uidSet(u.Succeeded, u.Failed)
	for _, p := range r.ended {
		switch {
		case known[p.rec.UID] || r.indexed() && !r.valid(completionIndex(p)):
		case p.rec.Phase() == corev1.PodSucceeded:
			r.succeeded += one(!r.indexed())
		case r.hasFailed(p) && r.counts(p):
			r.failed++
		}
	}
}

// valid says whether the index is one of the job's; it may not be any more if the job was made smaller.
func (r *jobRun) valid(index int) bool { return index >= 0 && index < int(deref(r.j.Spec.Completions)) }

// surveyIndexes finds out which indexes have succeeded and which have failed for good, and the last failed pod of each that is to be tried
// again: it says how often, so it is kept until there is another one.
func (r *jobRun) surveyIndexes() {
	n := int(deref(r.j.Spec.Completions))
	var done, lost []int
	ending := r.e.announced(r.s) != nil // what is stopped then has not failed of itself
	r.done, r.lost = parseIndexes(r.s.CompletedIndexes, n), parseIndexes(deref(r.s.FailedIndexes), n)
	for _, p := range r.ended {
		switch i := completionIndex(p); {
		case !r.valid(i):
		case p.rec.Phase() == corev1.PodSucceeded:
			done = append(done, i)
		case !ending && r.perIndex() && r.hasFailed(p) && r.failsIndex(p):
			lost = append(lost, i)
		}
	}
	r.done = r.done.with(done)
	r.lost = r.lost.with(lost).without(r.done)
	r.succeeded = int32(r.done.total())
	if r.perIndex() {
		r.holdLastFailures()
	}
}

func (r *jobRun) holdLastFailures() {
	busy := map[int]bool{}
	for _, p := range r.f.pods {
		if p.counted.active {
			busy[completionIndex(p)] = true
		}
	}
	r.held = map[int]*pod{}
	for _, p := range r.ended {
		i := completionIndex(p)
		if !r.valid(i) || busy[i] || r.done.has(i) || r.lost.has(i) || !r.hasFailed(p) {
			continue
		}
		if last := r.held[i]; last == nil || attempts(last) <= attempts(p) && !finished(p).Before(finished(last)) {
			r.held[i] = p
		}
	}
}

// attempts is how often the pod's index had failed before it.
func attempts(p *pod) int {
	return failuresOf(p, batchv1.JobIndexFailureCountAnnotation) + failuresOf(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

func failuresOf(p *pod, annotation string) int {
	n, err := strconv.Atoi(p.rec.Template.Pod.Annotations[annotation])
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// failsIndex says whether the index of a failed pod has failed for good.
func (r *jobRun) failsIndex(p *pod) bool {
	action, _ := r.ruleFor(p)
	return action == batchv1.PodFailurePolicyActionFailIndex ||
		action != batchv1.PodFailurePolicyActionIgnore && failuresOf(p, batchv1.JobIndexFailureCountAnnotation) >= int(*r.j.Spec.BackoffLimitPerIndex)
}

// hasFailed says whether the pod counts as failed. One that is being deleted does at once, unless only those are to be replaced that have
// truly ended; then one does that was deleted by force or is on a dead node, of which nobody will say how it ended.
func (r *jobRun) hasFailed(p *pod) bool {
	switch {
	case p.rec.Phase() == corev1.PodFailed:
		return true
	case p.rec.Phase() == corev1.PodSucceeded:
		return false
	case r.replacesOnlyFailed():
		return p.rec.Deleting() && (p.rec.DeletionGrace == 0 || p.rec.Node == "" || r.e.nodeDown(p.rec.Node))
	}
	return p.deleting()
}

func (r *jobRun) replacesOnlyFailed() bool {
	return deref(r.j.Spec.PodReplacementPolicy) == batchv1.Failed
}

// counts says whether a failed pod counts against the limits.
func (r *jobRun) counts(p *pod) bool {
	action, _ := r.ruleFor(p)
	return action != batchv1.PodFailurePolicyActionIgnore
}

// finished is when an ended pod ended: its last container, or else what else is known of its end.
func finished(p *pod) (at time.Time) {
	s := p.rec.DecodeStatus()
	for i := range s.ContainerStatuses {
		if t := s.ContainerStatuses[i].State.Terminated; t != nil {
			at = later(at, t.FinishedAt.Time)
		}
	}
	if !at.IsZero() {
		return at
	}
	if c := podCondition(&s, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse {
		at = c.LastTransitionTime.Time
	}
	return later(at, time.Unix(p.rec.Created, 0))
}

// restarts is how often the containers of a pod were started again.
func restarts(p *pod) (n int32) {
	s := p.rec.DecodeStatus()
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			n += list[i].RestartCount
		}
	}
	return n
}
