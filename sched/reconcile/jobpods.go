package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Delays before a failed pod of a job is followed by the next.
const (
	jobDelayMin = 10 * time.Second
	jobDelayMax = 6 * time.Minute
)

// manage keeps as many pods going as are useful and allowed. It reports how many it starts.
func (r *jobRun) manage() (started int32) {
	want := r.wanted()
	if surplus := r.surplus(int(r.active - want)); len(surplus) > 0 {
		for _, p := range surplus {
			r.e.discard(p)
		}
		r.e.saidDeleted(r.w, surplus)
		return 0
	}
	n := want - r.active
	if r.replacesOnlyFailed() {
		n -= r.terminating
	}
	switch {
	case n <= 0 || r.suspended():
		return 0
	case r.indexed():
		return r.startIndexes(int(n))
	case r.mayStart() && r.e.createPods(r.w, r.template(), int(n)):
		return n
	}
	return 0
}

// wanted is how many pods should be active.
func (r *jobRun) wanted() int32 {
	parallelism := replicas(r.j.Spec.Parallelism)
	switch {
	case r.suspended():
		return 0
	case r.j.Spec.Completions != nil:
		return max(0, min(parallelism, *r.j.Spec.Completions-r.succeeded-int32(r.lost.total())))
	case r.succeeded > 0:
		return r.active // one success is enough: no new pods, the others may finish
	}
	return parallelism
}

// surplus chooses the pods that go: of an indexed job first those that do nothing useful, since their index is none of the job's or
// another pod has it too, also if there are not too many.
func (r *jobRun) surplus(n int) []*pod {
	if n <= 0 && !r.indexed() || r.active == 0 {
		return nil
	}
	ranked := r.e.rankForDeletion(r.w, r.f)
	var out, useful []*pod
	seen := map[int]bool{}
	for _, p := range slices.Backward(ranked) { // the best of an index stays
		i := completionIndex(p)
		if r.indexed() && (!r.valid(i) || seen[i] || r.done.has(i)) {
			out = append(out, p)
			continue
		}
		seen[i] = true
		useful = append(useful, p)
	}
	for len(out) < n && len(useful) > 0 {
		out, useful = append(out, useful[len(useful)-1]), useful[:len(useful)-1]
	}
	return out[:min(len(out), jobPodsPerStepMax)]
}

// mayStart keeps a growing distance from the last failure, counted since the last success. Pods that were taken away are no reason to
// wait: what fails then is not the job's work.
func (r *jobRun) mayStart() bool {
	var failures []time.Time
	var success time.Time
	for _, p := range r.f.pods {
		if p.counted.controlled && p.rec.Phase() == corev1.PodFailed {
			failures = append(failures, finished(p))
		}
	}
	if len(failures) == 0 {
		return true
	}
	for _, p := range r.f.pods {
		if p.counted.controlled && p.rec.Phase() == corev1.PodSucceeded {
			success = later(success, finished(p))
		}
	}
	failures = slices.DeleteFunc(failures, func(at time.Time) bool { return at.Before(success) })
	if len(failures) == 0 {
		return true
	}
	return r.waited(slices.MaxFunc(failures, time.Time.Compare), len(failures))
}

// waited says whether it is long enough since the last of n failures; if not it comes back then.
func (r *jobRun) waited(last time.Time, n int) bool {
	at := last.Add(min(jobDelayMin<<min(n-1, 6), jobDelayMax))
	if !r.e.now.Before(at) {
		return true
	}
	r.wakeAt(at)
	return false
}

// startIndexes starts the n lowest indexes that wait for a pod and may have one now.
func (r *jobRun) startIndexes(n int) (started int32) {
	if !r.perIndex() && !r.mayStart() {
		return 0
	}
	var made []madePod
	for _, i := range r.waiting(min(n, jobPodsPerStepMax)) {
		if last := r.held[i]; last != nil && !r.waited(finished(last), attempts(last)+1) {
			continue
		}
		w := r.w
		w.prefix = fmt.Sprintf("%s-%d-", r.j.Name, i)
		rows, ok := r.e.planPods(w, r.templateOf(i), 1)
		if !ok {
			break
		}
		made = append(made, rows...)
	}
	r.e.saidCreated(r.w, made)
	return int32(len(made))
}

// waiting are the n lowest indexes that have no pod, and have neither succeeded nor failed for good.
func (r *jobRun) waiting(n int) (out []int) {
	var busy []int
	for _, p := range r.f.pods {
		if p.counted.active || p.counted.terminating && r.replacesOnlyFailed() && !r.hasFailed(p) {
			busy = append(busy, completionIndex(p))
		}
	}
	taken := indexes(nil).with(busy)
	for i := 0; len(out) < n && i < int(deref(r.j.Spec.Completions)); {
		if next := max(taken.after(i), r.done.after(i), r.lost.after(i)); next > i {
			i = next
			continue
		}
		out = append(out, i)
		i++
	}
	return out
}

// template is that of every pod of the job. By its labels the job knows its own where it has no selector.
func (r *jobRun) template() *corev1.PodTemplateSpec {
	t := r.j.Spec.Template
	t.Labels = maps.Clone(t.Labels)
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	for k, v := range jobLabels(r.j) {
		if t.Labels[k] == "" {
			t.Labels[k] = v
		}
	}
	t.Finalizers = withTracking(t.Finalizers)
	return &t
}

// jobLabels are on every pod of a job, in the words of today and in the older ones.
func jobLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		batchv1.ControllerUidLabel: string(j.UID), "controller-uid": string(j.UID),
		batchv1.JobNameLabel: j.Name, "job-name": j.Name,
	}
}

// templateOf is that of the pod of one index: it knows its index by label, annotation, host name and environment, and how often the
// index has failed before.
func (r *jobRun) templateOf(i int) *corev1.PodTemplateSpec {
	t, index := r.template(), strconv.Itoa(i)
	t.Annotations = maps.Clone(t.Annotations)
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Labels[batchv1.JobCompletionIndexAnnotation], t.Annotations[batchv1.JobCompletionIndexAnnotation] = index, index
	t.Spec.Hostname = fmt.Sprintf("%s-%d", r.j.Name, i)
	t.Spec.InitContainers, t.Spec.Containers = withIndexEnv(t.Spec.InitContainers), withIndexEnv(t.Spec.Containers)
	if r.perIndex() {
		r.noteAttempts(t, r.held[i])
	}
	return t
}

// noteAttempts writes on a pod how often its index failed before it.
func (r *jobRun) noteAttempts(t *corev1.PodTemplateSpec, last *pod) {
	failed, ignored := 0, 0
	if last != nil {
		failed, ignored = failuresOf(last, batchv1.JobIndexFailureCountAnnotation), failuresOf(last, batchv1.JobIndexIgnoredFailureCountAnnotation)
		if r.counts(last) {
			failed++
		} else {
			ignored++
		}
	}
	t.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(failed)
	if ignored > 0 {
		t.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}

const completionIndexEnv = "JOB_COMPLETION_INDEX"

// withIndexEnv tells containers their index, unless they say it themselves.
func withIndexEnv(list []corev1.Container) []corev1.Container {
	out := slices.Clone(list)
	for i := range out {
		if slices.ContainsFunc(out[i].Env, func(v corev1.EnvVar) bool { return v.Name == completionIndexEnv }) {
			continue
		}
		out[i].Env = append(slices.Clone(out[i].Env), corev1.EnvVar{Name: completionIndexEnv, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
		}})
	}
	return out
}
