package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// newLeader is a fresh engine that knows nothing but the state, as after a change of leaders.
func (w *world) newLeader() {
	cfg := w.e.cfg
	cfg.Seed++
	w.e = New(cfg)
	for name := range w.dead {
		w.e.NodeDown(name)
	}
	for _, r := range slices.SortedFunc(maps.Keys(w.objects), compareRefs) {
		o := w.objects[r]
		w.observe(&api.Change{Revision: o.rev, Resource: r.gr, Namespace: r.ns, Name: r.name, New: o.obj})
		if r.gr == Nodes && !w.dead[r.name] {
			w.e.NodeUp(r.name)
		}
	}
	for k, rec := range w.pods {
		w.observe(&api.Change{Revision: rec.Revision, Resource: Pods, Namespace: k.Namespace, Name: k.Name, NewPod: rec})
	}
}

// jobLedger is what became of every pod that a job ever had.
type jobLedger struct {
	w         *world
	made      map[types.UID]bool
	discarded map[types.UID]bool
	succeeded map[types.UID]int // with their index; -1 is none
	active    int               // when it was checked last
	raced     int               // pods that succeeded while the engine decided, perhaps that they have failed
}

func newJobLedger(w *world) *jobLedger {
	l := &jobLedger{w: w, made: map[types.UID]bool{}, discarded: map[types.UID]bool{}, succeeded: map[types.UID]int{}}
	w.check = l.look
	return l
}

// look notes which pods the job takes back, by the writes that take finalizer and life in one.
func (l *jobLedger) look(list []ops.Op) {
	for _, op := range list {
		var name string
		var leaves bool
		switch op := op.(type) {
		case *ops.Put:
			if p, ok := op.Object.(*corev1.Pod); ok {
				name, leaves = p.Name, p.DeletionTimestamp != nil
			}
		case *ops.Delete:
			name, leaves = op.Name, op.Resource == Pods
		}
		if rec := l.w.pods[types.NamespacedName{Namespace: "default", Name: name}]; leaves && rec != nil && !rec.Deleting() && !rec.Terminal() {
			l.discarded[rec.UID] = true
		}
	}
}

func (w *world) record(uid types.UID) *api.PodRecord {
	for _, rec := range w.pods {
		if rec.UID == uid {
			return rec
		}
	}
	return nil
}

// pods are the job's that are there, by name; they are entered in the ledger.
func (l *jobLedger) pods() (out []*api.PodRecord) {
	for _, k := range slices.SortedFunc(maps.Keys(l.w.pods), func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) }) {
		l.made[l.w.pods[k].UID] = true
		out = append(out, l.w.pods[k])
	}
	return out
}

func (l *jobLedger) end(rec *api.PodRecord, phase corev1.PodPhase) {
	next := *rec
	b, _ := (&corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(l.w.now)}}}}}).Marshal()
	_ = next.SetStatus(b)
	if phase == corev1.PodSucceeded {
		l.succeeded[rec.UID] = completionIndex(&pod{rec: rec})
	}
	l.w.putRecord(rec, &next)
}

// step commits what the engine wants; sometimes the world has moved on by then, and sometimes the leader dies in the middle of it.
func (l *jobLedger) step(t *rapid.T) {
	out, _ := l.w.e.Step(l.w.now)
	n := min(len(out), rapid.IntRange(0, 3*len(out)+1).Draw(t, "committed"))
	if rapid.Bool().Draw(t, "meanwhile") {
		before := len(l.succeeded)
		l.something(t)
		l.raced += len(l.succeeded) - before
	}
	l.pods()
	l.look(out[:n])
	l.w.note(out[:n])
	l.w.apply(out[:n])
	for uid := range l.discarded {
		if rec := l.w.record(uid); rec != nil && slices.Contains(rec.Template.Pod.Finalizers, batchv1.JobTrackingFinalizer) {
			delete(l.discarded, uid) // the write failed
		}
	}
	if n < len(out) {
		l.w.newLeader()
	}
}

func (l *jobLedger) fail(format string, a ...any) {
	l.w.t.Helper()
	l.w.t.Fatalf("%s\n%s", fmt.Sprintf(format, a...), strings.Join(l.w.trace, "\n"))
}

// checkRunning holds after every step: no more pods than wanted do something, no index has two, and none that is done has one.
func (l *jobLedger) checkRunning(j *batchv1.Job) {
	active, seen := 0, map[int]bool{}
	for _, i := range l.succeeded {
		seen[i] = true
	}
	for _, rec := range l.pods() {
		if rec.Terminal() || rec.Deleting() {
			continue
		}
		active++
		i := completionIndex(&pod{rec: rec})
		if i >= 0 && seen[i] {
			l.fail("index %d has a second pod", i)
		}
		seen[i] = true
	}
	if active > max(l.active, int(*j.Spec.Parallelism)) { // a step that was lost may have been to take some back
		l.fail("%d pods are active, %d may be", active, *j.Spec.Parallelism)
	}
	l.active = active
}

// something happens to a job: its pods end or are taken away, nodes die, the user changes its mind, time goes by.
func (l *jobLedger) something(t *rapid.T) {
	w, pods := l.w, l.pods()
	var rec *api.PodRecord
	if len(pods) > 0 {
		rec = pods[rapid.IntRange(0, len(pods)-1).Draw(t, "pod")]
	}
	switch what := rapid.SampledFrom([]string{"ends", "ends", "fails", "deleted", "time", "parallelism", "suspend", "down", "works"}).Draw(t, "what"); what {
	case "ends", "fails":
		if rec != nil && rec.Node != "" && !w.dead[rec.Node] && !rec.Terminal() && !rec.Deleting() {
			l.end(rec, map[string]corev1.PodPhase{"ends": corev1.PodSucceeded, "fails": corev1.PodFailed}[what])
		}
	case "deleted":
		if rec != nil {
			w.apply([]ops.Op{&ops.DeletePods{Now: w.now.Unix(), Rows: []ops.DeleteRow{{Namespace: "default", Name: rec.Name, UID: rec.UID, Grace: rapid.SampledFrom([]int64{-1, 0}).Draw(t, "grace")}}}})
		}
	case "time":
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
	case "parallelism":
		j, n := w.job("a"), int32(rapid.IntRange(0, 5).Draw(t, "n"))
		j.Spec.Parallelism = &n
		w.put(Jobs, j)
	case "suspend":
		j := w.job("a")
		yes := !deref(j.Spec.Suspend)
		j.Spec.Suspend = &yes
		w.put(Jobs, j)
	case "down":
		if node := fmt.Sprintf("n%d", rapid.IntRange(1, 3).Draw(t, "node")); w.dead[node] {
			delete(w.dead, node)
			w.e.NodeUp(node)
		} else if len(w.dead) < 2 {
			w.dead[node] = true
			w.e.NodeDown(node)
		}
	case "works":
		l.work()
	}
}

// work starts what is bound, and carries out deletions; a pod that is kept by its finalizer has failed then.
func (l *jobLedger) work() {
	for _, rec := range l.pods() {
		switch {
		case rec.Node == "" || l.w.dead[rec.Node] || rec.Terminal():
		case rec.Deleting() && len(rec.Template.Pod.Finalizers) > 0:
			l.end(rec, corev1.PodFailed)
		case rec.Deleting():
			l.w.putRecord(rec, nil)
		case !rec.Status.Ready():
			l.w.start(rec)
		}
	}
}

func drawJob(t *rapid.T) *batchv1.Job {
	parallelism, completions, limit := rapid.Int32Range(0, 4).Draw(t, "parallelism"), rapid.Int32Range(1, 6).Draw(t, "completions"), int32(1000)
	j := testJob("a", 1_000_000)
	j.Spec.Parallelism, j.Spec.Completions, j.Spec.BackoffLimit = &parallelism, &completions, &limit
	if rapid.Bool().Draw(t, "only failed") {
		only := batchv1.Failed
		j.Spec.PodReplacementPolicy = &only
	}
	switch rapid.IntRange(0, 2).Draw(t, "mode") {
	case 1:
		j.Spec.CompletionMode = new(batchv1.CompletionMode)
		*j.Spec.CompletionMode = batchv1.IndexedCompletion
	case 2:
		j.Spec.CompletionMode = new(batchv1.CompletionMode)
		*j.Spec.CompletionMode = batchv1.IndexedCompletion
		perIndex := rapid.Int32Range(0, 2).Draw(t, "per index")
		j.Spec.BackoffLimitPerIndex = &perIndex
	}
	return j
}

// TestJobCountsEveryPodOnce: Invariant 36. Whatever happens to a job's pods, and whoever leads, every pod that it made is counted once
// unless the job took it back itself, and every index succeeds once.
func TestJobCountsEveryPodOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 3)
		l, job := newJobLedger(w), drawJob(t)
		w.put(Jobs, job)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			l.something(t)
			if rapid.Bool().Draw(t, "step") {
				decided := w.job("a")
				l.step(t)
				l.checkRunning(decided)
			}
		}
		l.letEnd()
		l.checkEnd()
	})
}

// letEnd lets every pod that is left on a living node succeed, until the job has ended. Who is dead stays so.
func (l *jobLedger) letEnd() {
	w, j, no, n := l.w, l.w.job("a"), false, int32(4)
	if !jobDone(j) {
		j.Spec.Suspend, j.Spec.Parallelism = &no, &n
		w.put(Jobs, j)
	}
	for range 100 {
		w.settle()
		l.checkRunning(w.job("a"))
		if jobDone(w.job("a")) {
			return
		}
		l.work()
		for _, rec := range l.pods() {
			if rec.Status.Ready() && !rec.Terminal() && !rec.Deleting() {
				l.end(rec, corev1.PodSucceeded)
			}
		}
		w.now = w.now.Add(time.Minute)
	}
	l.fail("the job does not end: %+v", w.job("a").Status)
}

func (l *jobLedger) checkEnd() {
	j, taken := l.w.job("a"), 0
	for _, rec := range l.pods() {
		if slices.Contains(rec.Template.Pod.Finalizers, batchv1.JobTrackingFinalizer) {
			l.fail("pod %s keeps its finalizer", rec.Name)
		}
	}
	for uid := range l.discarded {
		if l.made[uid] {
			taken++
		}
	}
	s, succeeded := j.Status, len(l.succeeded)
	within := func(n int32, least, most int) bool { return int(n) >= least && int(n) <= most }
	if !within(s.Succeeded, succeeded-l.raced, succeeded) || !within(s.Succeeded+s.Failed, len(l.made)-taken, len(l.made)-taken+l.raced) {
		l.fail("%d pods were made, %d taken back, %d succeeded; the status says %d succeeded and %d failed", len(l.made), taken, succeeded, s.Succeeded, s.Failed)
	}
	if s.Active != 0 || *s.Terminating != 0 || len(s.UncountedTerminatedPods.Failed)+len(s.UncountedTerminatedPods.Succeeded) != 0 {
		l.fail("a job that has ended: %+v", s)
	}
	done, lost := parseIndexes(s.CompletedIndexes, 1000), parseIndexes(deref(s.FailedIndexes), 1000)
	for _, i := range l.succeeded {
		if i >= 0 && l.raced == 0 && (!done.has(i) || lost.has(i)) {
			l.fail("index %d succeeded: %+v", i, s)
		}
	}
	if completed := s.Conditions[len(s.Conditions)-1].Type == batchv1.JobComplete; completed != (s.Succeeded >= *j.Spec.Completions) {
		l.fail("%d of %d succeeded: %+v", s.Succeeded, *j.Spec.Completions, s.Conditions)
	}
}
