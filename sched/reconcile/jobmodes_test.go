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
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// indexedJob has that many indexes, all at once.
func indexedJob(n int32, change func(*batchv1.JobSpec)) *batchv1.Job {
	j := testJob("a", 1_000_000)
	j.Spec.CompletionMode, j.Spec.Completions, j.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), &n, ptr.To(n)
	if change != nil {
		change(&j.Spec)
	}
	return j
}

// podAt is the pod of an index that has not ended; nil if there is none.
func (w *world) podAt(index int) *api.PodRecord {
	for _, rec := range w.pods {
		if !rec.Terminal() && !rec.Deleting() && completionIndex(&pod{rec: rec}) == index {
			return rec
		}
	}
	return nil
}

// exit ends a pod with a code and conditions that are true.
func (w *world) exit(rec *api.PodRecord, code int32, conditions ...corev1.PodConditionType) {
	if rec == nil {
		w.t.Fatalf("there is no such pod:\n%s", strings.Join(w.trace, "\n"))
		return
	}
	s := corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(w.now)}}}}}
	if code != 0 {
		s.Phase = corev1.PodFailed
	}
	for _, c := range conditions {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue})
	}
	next := *rec
	b, _ := s.Marshal()
	_ = next.SetStatus(b)
	w.putRecord(rec, &next)
	w.settle()
}

// sum is what a job's status comes to, in a line.
func (w *world) sum() string {
	s := w.job("a").Status
	out := fmt.Sprintf("active %d succeeded %d failed %d", s.Active, s.Succeeded, s.Failed)
	if s.CompletedIndexes != "" {
		out += " done " + s.CompletedIndexes
	}
	if deref(s.FailedIndexes) != "" {
		out += " lost " + *s.FailedIndexes
	}
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue && announcements[c.Type] != "" {
			out += fmt.Sprintf(" %s/%s: %s", c.Type, c.Reason, c.Message)
		}
	}
	return out
}

func (w *world) wantSum(t *testing.T, want string) {
	t.Helper()
	if got := w.sum(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// An index is known by label, annotation, host name and environment, and begins the pod's name.
func TestIndexedPods(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Jobs, indexedJob(3, func(s *batchv1.JobSpec) {
		s.Template.Spec.InitContainers = []corev1.Container{{Name: "i", Env: []corev1.EnvVar{{Name: completionIndexEnv, Value: "mine"}}}}
	}))
	w.settle()
	for i := range 3 {
		rec, text := w.podAt(i), fmt.Sprint(i)
		if rec == nil {
			t.Fatalf("no pod has index %d", i)
		}
		p := rec.Pod()
		env := p.Spec.Containers[0].Env
		if p.Labels[batchv1.JobCompletionIndexAnnotation] != text || p.Spec.Hostname != "a-"+text || !strings.HasPrefix(p.Name, "a-"+text+"-") || len(env) != 1 ||
			env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" || len(p.Spec.InitContainers[0].Env) != 1 {
			t.Fatalf("%+v", p)
		}
	}
	w.exit(w.podAt(1), 0)
	w.exit(w.podAt(2), 1)
	w.wantSum(t, "active 1 succeeded 1 failed 1 done 1")
	w.now = w.now.Add(jobDelayMin)
	w.settle()
	w.exit(w.podAt(2), 0)
	w.wantSum(t, "active 1 succeeded 2 failed 1 done 1,2")
	w.exit(w.podAt(0), 0)
	w.wantSum(t, "active 0 succeeded 3 failed 1 done 0-2 Complete/CompletionsReached: Reached expected number of succeeded pods")
}

// A job that is made smaller forgets the indexes that it no longer has, and one that grows goes on.
func TestElasticIndexedJob(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Jobs, indexedJob(4, nil))
	w.settle()
	w.exit(w.podAt(0), 0)
	w.exit(w.podAt(3), 0)
	w.wantSum(t, "active 2 succeeded 2 failed 0 done 0,3")
	resize := func(n int32) {
		j := w.job("a")
		j.Spec.Completions, j.Spec.Parallelism = &n, &n
		w.put(Jobs, j)
		w.converge()
	}
	resize(2)
	w.wantSum(t, "active 1 succeeded 1 failed 0 done 0")
	resize(5)
	w.wantSum(t, "active 4 succeeded 1 failed 0 done 0")
}

// Each index has its own failures and its own back-off, and the rest goes on.
func TestBackoffLimitPerIndex(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Jobs, indexedJob(3, func(s *batchv1.JobSpec) {
		s.BackoffLimit, s.BackoffLimitPerIndex = ptr.To(int32(100)), ptr.To(int32(1))
	}))
	w.settle()
	w.exit(w.podAt(0), 1)
	if w.podAt(0) != nil {
		t.Fatal("an index is tried again at once")
	}
	w.now = w.now.Add(jobDelayMin)
	w.settle()
	if n := w.podAt(0).Template.Pod.Annotations[batchv1.JobIndexFailureCountAnnotation]; n != "1" {
		t.Fatalf("it says %q failures", n)
	}
	w.newLeader() // which knows what the pods say
	w.settle()
	w.exit(w.podAt(0), 1)
	w.wantSum(t, "active 2 succeeded 0 failed 2 lost 0")
	w.now = w.now.Add(time.Hour)
	w.settle()
	w.exit(w.podAt(1), 0)
	w.exit(w.podAt(2), 0)
	w.wantSum(t, "active 0 succeeded 2 failed 2 done 1,2 lost 0 Failed/FailedIndexes: Job has failed indexes")
}

func TestMaxFailedIndexes(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Jobs, indexedJob(4, func(s *batchv1.JobSpec) {
		s.BackoffLimit, s.BackoffLimitPerIndex, s.MaxFailedIndexes = ptr.To(int32(100)), ptr.To(int32(0)), ptr.To(int32(1))
	}))
	w.settle()
	w.exit(w.podAt(1), 1)
	w.wantSum(t, "active 3 succeeded 0 failed 1 lost 1")
	w.exit(w.podAt(3), 1)
	w.converge()
	w.wantSum(t, "active 0 succeeded 0 failed 4 lost 1,3 Failed/MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes")
}

func onExit(action batchv1.PodFailurePolicyAction, op batchv1.PodFailurePolicyOnExitCodesOperator, codes ...int32) batchv1.PodFailurePolicyRule {
	return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: op, Values: codes}}
}

func TestPodFailurePolicy(t *testing.T) {
	rules := []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
		onExit(batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyOnExitCodesOpIn, 42),
		onExit(batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyOnExitCodesOpIn, 43),
		onExit(batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyOnExitCodesOpNotIn, 1, 2),
		onExit(batchv1.PodFailurePolicyActionIgnore, batchv1.PodFailurePolicyOnExitCodesOpIn, 2),
	}
	for _, c := range []struct {
		name       string
		code       int32
		conditions []corev1.PodConditionType
		want       string
	}{
		{"ignored for a condition", 42, []corev1.PodConditionType{corev1.DisruptionTarget}, "active 2 succeeded 0 failed 0"},
		{"fails the job", 42, nil, "active 0 succeeded 0 failed 2 Failed/PodFailurePolicy: Container c for pod default/NAME failed with exit code 42 matching FailJob rule at index 1"},
		{"fails the index", 43, nil, "active 1 succeeded 0 failed 1 lost 0"},
		{"counts", 7, nil, "active 2 succeeded 0 failed 1"},
		{"ignored for a code", 2, nil, "active 2 succeeded 0 failed 0"},
		{"matches none", 1, nil, "active 2 succeeded 0 failed 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := standardWorld(t, 1, 2)
			w.put(Jobs, indexedJob(2, func(s *batchv1.JobSpec) {
				s.BackoffLimit, s.BackoffLimitPerIndex, s.PodReplacementPolicy = ptr.To(int32(100)), ptr.To(int32(3)), ptr.To(batchv1.Failed)
				s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules}
			}))
			w.settle()
			rec := w.podAt(0)
			w.exit(rec, c.code, c.conditions...)
			w.now = w.now.Add(jobDelayMin)
			w.converge()
			w.wantSum(t, strings.ReplaceAll(c.want, "NAME", rec.Name))
		})
	}
}

func TestSuccessPolicy(t *testing.T) {
	rule := func(indexes *string, count *int32) *batchv1.SuccessPolicy {
		return &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("3")}, {SucceededIndexes: indexes, SucceededCount: count}}}
	}
	for _, c := range []struct {
		name   string
		policy *batchv1.SuccessPolicy
		end    []int // in order; before the last the job goes on
	}{
		{"a number", rule(nil, ptr.To(int32(2))), []int{0, 2}},
		{"indexes", rule(ptr.To("0,2"), nil), []int{1, 0, 2}},
		{"some of the indexes", rule(ptr.To("0-2"), ptr.To(int32(2))), []int{1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := standardWorld(t, 1, 2)
			w.put(Jobs, indexedJob(4, func(s *batchv1.JobSpec) { s.SuccessPolicy = c.policy }))
			w.settle()
			for i, index := range c.end {
				if jobDone(w.job("a")) {
					t.Fatalf("it ends before %d of %v: %s", i, c.end, w.sum())
				}
				w.exit(w.podAt(index), 0)
			}
			w.converge()
			if got := w.sum(); !strings.HasSuffix(got, " Complete/SuccessPolicy: Matched rules at index 1") || !strings.HasPrefix(got, "active 0 ") {
				t.Fatal(got)
			}
		})
	}
}

// TestBackoff: the distance grows with each failure since the last success, and nobody waits for a pod that was taken away.
func TestBackoff(t *testing.T) {
	w := standardWorld(t, 1, 2)
	j := testJob("a", 1_000_000)
	j.Spec.BackoffLimit, j.Spec.Parallelism, j.Spec.Completions = ptr.To(int32(100)), ptr.To(int32(1)), ptr.To(int32(9))
	w.put(Jobs, j)
	w.settle()
	for _, delay := range []time.Duration{10, 20, 40, 80, 160, 320, 360, 360} {
		w.exit(w.podAt(-1), 1)
		w.now = w.now.Add(delay*time.Second - 1)
		w.settle()
		if w.podAt(-1) != nil {
			t.Fatalf("a pod is there before %d s", delay)
		}
		if _, next := w.e.Step(w.now); next.After(w.now.Add(1)) {
			t.Fatalf("comes back at %s, is due in 1 ns", next)
		}
		w.now = w.now.Add(1)
		w.settle()
	}
	w.now = w.now.Add(time.Minute)
	w.exit(w.podAt(-1), 0)
	w.now = w.now.Add(time.Second)
	w.exit(w.podAt(-1), 1)
	w.now = w.now.Add(jobDelayMin)
	w.settle()
	gone := w.podAt(-1)
	w.dead[gone.Node] = true
	w.e.NodeDown(gone.Node)
	out, _ := w.e.Step(w.now)
	if lines := strings.Join(describe(out), "\n"); !strings.Contains(lines, "delete pod "+gone.Name) || !strings.Contains(lines, "plan pod a-") {
		t.Fatalf("a dead node's pod is not replaced in the same step:\n%s", lines)
	}
	w.apply(out)
	w.settle()
	if w.record(gone.UID) != nil || w.job("a").Status.Failed != 10 {
		t.Fatalf("it is not let go: %s", w.sum())
	}
}

// Where containers start again in their pod, that is what is counted.
func TestRestartsCountAgainstTheLimit(t *testing.T) {
	w := standardWorld(t, 1, 1)
	j := testJob("a", 1_000_000)
	j.Spec.BackoffLimit, j.Spec.Template.Spec.RestartPolicy = ptr.To(int32(2)), corev1.RestartPolicyOnFailure
	w.put(Jobs, j)
	w.settle()
	for n := range int32(3) {
		if jobDone(w.job("a")) {
			t.Fatalf("it ends after %d restarts", n-1)
		}
		rec := *w.podAt(-1)
		b, _ := (&corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: n}}}).Marshal()
		_ = rec.SetStatus(b)
		w.putRecord(w.podAt(-1), &rec)
		w.settle()
	}
	w.converge()
	w.wantSum(t, "active 0 succeeded 0 failed 1 Failed/BackoffLimitExceeded: Job has reached the specified backoff limit")
}

// TestPodReplacement: a pod that is being deleted is replaced at once, or when it has ended.
func TestPodReplacement(t *testing.T) {
	for policy, want := range map[batchv1.PodReplacementPolicy][2]string{
		batchv1.TerminatingOrFailed: {"active 1 succeeded 0 failed 1", "active 1 succeeded 0 failed 1"},
		batchv1.Failed:              {"active 0 succeeded 0 failed 0", "active 1 succeeded 0 failed 1"},
	} {
		w := standardWorld(t, 1, 1)
		j := testJob("a", 1_000_000)
		j.Spec.PodReplacementPolicy = &policy
		w.put(Jobs, j)
		w.settle()
		rec := w.podAt(-1)
		w.e.doomPod(w.e.pod("default", rec.Name), -1)
		w.apply(w.e.flush(w.now))
		w.settle()
		w.wantSum(t, want[0])
		if n := *w.job("a").Status.Terminating; n != 1 {
			t.Errorf("%s: %d are terminating", policy, n)
		}
		if left := w.record(rec.UID); len(left.Template.Pod.Finalizers) > 0 {
			w.exit(left, 137)
			w.now = w.now.Add(jobDelayMin)
			w.settle()
		}
		w.wantSum(t, want[1])
	}
}

// A pod that leaves a job, or whose job is gone, is not kept by what the job wanted with it.
func TestNobodyIsKeptForAJobThatDoesNotCount(t *testing.T) {
	tracked := func(w *world) (n int) {
		for _, rec := range w.pods {
			if slices.Contains(rec.Template.Pod.Finalizers, batchv1.JobTrackingFinalizer) {
				n++
			}
		}
		return n
	}
	for name, leave := range map[string]func(w *world){
		"another label": func(w *world) {
			p := slices.Collect(maps.Values(w.pods))[0].Pod()
			p.Labels = map[string]string{"app": "other"}
			w.put(Pods, p)
		},
		"no job": func(w *world) {
			w.deleteObject(&ops.Delete{Resource: Jobs, Namespace: "default", Name: "a", Expect: ops.Any})
		},
	} {
		w := standardWorld(t, 1, 1)
		w.put(Jobs, testJob("a", 1_000_000))
		w.converge()
		before := tracked(w)
		leave(w)
		w.converge()
		if after := tracked(w); before != 1 || name == "another label" && (after != 1 || len(w.pods) != 2) || name == "no job" && len(w.pods) != 0 {
			t.Errorf("%s: %d of %d pods are kept, %d before", name, after, len(w.pods), before)
		}
	}
}

func TestJobOfAnotherManagerIsLeftAlone(t *testing.T) {
	w := standardWorld(t, 1, 1)
	j := testJob("a", 1_000_000)
	j.Spec.ManagedBy = ptr.To("example.com/mine")
	w.put(Jobs, j)
	w.settle()
	if s := w.job("a").Status; len(w.pods) != 0 || s.StartTime != nil {
		t.Fatalf("%d pods, %+v", len(w.pods), s)
	}
}
