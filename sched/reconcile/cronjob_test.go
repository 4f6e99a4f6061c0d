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
	"pgregory.net/rapid"
)

// cronWorld begins on a Tuesday at 22:13:20 UTC.
func cronWorld(t failer, schedule string, change func(*batchv1.CronJobSpec)) *world {
	w := standardWorld(t, 1, 2)
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Spec: batchv1.CronJobSpec{
		Schedule: schedule, ConcurrencyPolicy: batchv1.AllowConcurrent, SuccessfulJobsHistoryLimit: ptr.To(int32(3)), FailedJobsHistoryLimit: ptr.To(int32(1)),
		JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "c"}}, Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To(int32(0)), Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}},
	}}
	c.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if change != nil {
		change(&c.Spec)
	}
	w.put(CronJobs, c)
	w.settle()
	return w
}

// till lets time pass in the way of the runner: the engine is woken when it asked for it, and the world comes to rest each time.
func (w *world) till(end time.Time) {
	for range 10_000 {
		w.settle()
		_, next := w.e.Step(w.now)
		if next.IsZero() || next.After(end) {
			w.now = end
			w.settle()
			return
		}
		w.now = next
	}
	w.t.Fatalf("the engine wakes too often")
}

func (w *world) cron() *batchv1.CronJob {
	return w.objects[ref{CronJobs, "default", "c"}].obj.DeepCopyObject().(*batchv1.CronJob)
}

// jobTimes are the jobs by their time, and a mark behind those that run.
func (w *world) jobTimes() (out []string) {
	for _, o := range w.list(Jobs) {
		j := o.obj.(*batchv1.Job)
		at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
		if err != nil || j.Name != fmt.Sprintf("c-%d", at.Unix()/60) {
			w.t.Fatalf("job %s is of %s", j.Name, at)
		}
		text := at.Format("Mon15:04")
		if endOf(j) == "" {
			text += "*"
		}
		out = append(out, text)
	}
	return out
}

func (w *world) reasons(kind string) (out []string) {
	for _, o := range w.list(Events) {
		if ev := o.obj.(*corev1.Event); ev.InvolvedObject.Kind == kind {
			out = append(out, ev.Reason)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func at(hour, minute int) time.Time { return time.Date(2023, 11, 15, hour, minute, 0, 0, time.UTC) }

// TestCronJobTimes: jobs begin when they should, whoever leads.
func TestCronJobTimes(t *testing.T) {
	for _, c := range []struct {
		schedule string
		change   func(*batchv1.CronJobSpec)
		want     string
	}{
		{"30 */6 * * *", nil, "Wed00:30* Wed06:30*"},
		{"@every 5h", nil, "Wed03:13* Wed08:13*"},
		{"0 9 * * *", func(s *batchv1.CronJobSpec) { s.TimeZone = ptr.To("Europe/Berlin") }, "Wed09:00*"},
		{"0 9 * * *", func(s *batchv1.CronJobSpec) { s.TimeZone = ptr.To("Nowhere/Else") }, ""},
		{"0 9 31 2 *", nil, ""},
		{"@daily", nil, "Wed00:00*"},
		{"0 * * * *", func(s *batchv1.CronJobSpec) { s.Suspend = ptr.To(true) }, ""},
		{"0 */3 * * *", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent }, "Wed00:00*"},
		{"0 */3 * * *", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ReplaceConcurrent }, "Wed09:00*"},
	} {
		w := cronWorld(t, c.schedule, c.change)
		w.till(at(3, 0))
		w.newLeader()
		w.till(at(9, 59))
		if got := strings.Join(w.jobTimes(), " "); got != c.want {
			t.Errorf("%q makes %q, want %q", c.schedule, got, c.want)
		}
		if n := len(w.cron().Status.Active); n != strings.Count(c.want, "*") {
			t.Errorf("%q: %d are active", c.schedule, n)
		}
	}
}

// A job is what it would have become on its way through the API.
func TestCronJobMakesWholeJobs(t *testing.T) {
	w := cronWorld(t, "0 9 * * *", func(s *batchv1.CronJobSpec) { s.TimeZone = ptr.To("Asia/Tokyo") })
	w.till(at(0, 0))
	j := w.list(Jobs)[0].obj.(*batchv1.Job)
	if j.Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2023-11-15T09:00:00+09:00" || j.Labels["app"] != "c" ||
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] != string(j.UID) || *j.Spec.Completions != 1 || j.OwnerReferences[0].Kind != "CronJob" {
		t.Fatalf("%+v", j)
	}
	s := w.cron().Status
	if a := s.Active[0]; a.Name != j.Name || a.UID != j.UID || a.Kind != "Job" || !s.LastScheduleTime.Time.Equal(at(0, 0)) || s.LastSuccessfulTime != nil {
		t.Fatalf("%+v", s)
	}
	if got := w.reasons("CronJob"); !slices.Equal(got, []string{"SuccessfulCreate"}) {
		t.Fatalf("events %q", got)
	}
}

// What has ended is noted, and the oldest go.
func TestCronJobHistory(t *testing.T) {
	w := cronWorld(t, "*/10 * * * *", nil)
	start := at(0, 0)
	for i := range 10 {
		w.till(start.Add(time.Duration(i) * 10 * time.Minute))
		w.now = w.now.Add(time.Minute)
		for _, o := range w.list(Jobs) {
			if endOf(o.obj.(*batchv1.Job)) == "" {
				w.end([]corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}[i%2])
			}
		}
		w.settle()
	}
	if got := strings.Join(w.jobTimes(), " "); got != "Wed00:40 Wed01:00 Wed01:20 Wed01:30" {
		t.Errorf("kept are %q", got)
	}
	s := w.cron().Status
	if len(s.Active) != 0 || !s.LastScheduleTime.Time.Equal(at(1, 30)) || !s.LastSuccessfulTime.Time.Equal(at(1, 21)) {
		t.Errorf("%+v", s)
	}
	if got := w.reasons("CronJob"); !slices.Equal(got, []string{"SawCompletedJob", "SuccessfulCreate", "SuccessfulDelete"}) {
		t.Errorf("events %q", got)
	}
}

// TestCronJobMissed: of many missed starts the last is made up for, unless it is too late.
func TestCronJobMissed(t *testing.T) {
	for _, c := range []struct {
		name     string
		schedule string
		deadline *int64
		away     time.Duration
		want     string
		reason   string
	}{
		{"a few", "*/10 * * * *", nil, time.Hour, "Tue23:10*", ""},
		{"many", "* * * * *", nil, 4 * time.Hour, "Wed02:13*", "TooManyMissedTimes"},
		{"many, of which few are in time", "* * * * *", ptr.To(int64(600)), 4 * time.Hour, "Wed02:13*", ""},
		{"too late", "0 23 * * *", ptr.To(int64(60)), time.Hour, "", ""},
		{"in time", "0 23 * * *", ptr.To(int64(1200)), time.Hour, "Tue23:00*", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := cronWorld(t, c.schedule, func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = c.deadline })
			w.now = w.now.Add(c.away)
			w.newLeader()
			w.settle()
			if got := strings.Join(w.jobTimes(), " "); got != c.want {
				t.Errorf("made are %q, want %q", got, c.want)
			}
			if said := slices.Contains(w.reasons("CronJob"), "TooManyMissedTimes"); said != (c.reason != "") {
				t.Errorf("events %q", w.reasons("CronJob"))
			}
		})
	}
}

// A job that had to wait for the last one begins when that has ended.
func TestForbiddenJobIsMadeUpFor(t *testing.T) {
	w := cronWorld(t, "0 */3 * * *", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent })
	w.till(at(3, 20))
	if !slices.Contains(w.reasons("CronJob"), "JobAlreadyActive") {
		t.Errorf("events %q", w.reasons("CronJob"))
	}
	w.end(corev1.PodSucceeded)
	w.settle()
	if got := strings.Join(w.jobTimes(), " "); got != "Wed00:00 Wed03:00*" {
		t.Errorf("made are %q", got)
	}
}

// A person's job is one of the cron job's, and not one that it made; a job that goes missing is said.
func TestJobsOfOthers(t *testing.T) {
	w := cronWorld(t, "0 0 * * *", nil)
	j := testJob("mine", 1000)
	j.Annotations = map[string]string{"cronjob.kubernetes.io/instantiate": "manual"}
	j.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(w.cron(), cronJobKind)}
	w.put(Jobs, j)
	w.settle()
	if got := w.reasons("CronJob"); !slices.Equal(got, []string{"UnexpectedJob"}) || len(w.cron().Status.Active) != 0 {
		t.Fatalf("events %q, active %v", got, w.cron().Status.Active)
	}
	w.till(at(0, 0))
	name := w.cron().Status.Active[0].Name
	w.e.deleteObject(w.e.object(Jobs, "default", name), "")
	w.apply(w.e.flush(w.now))
	w.settle()
	if got := w.reasons("CronJob"); !slices.Contains(got, "MissingJob") || len(w.cron().Status.Active) != 0 {
		t.Fatalf("events %q, active %v", got, w.cron().Status.Active)
	}
}

// TestCronJobLosesNoWrite: if only part of a step is committed, each start still makes one job, and all that run are known.
func TestCronJobLosesNoWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := cronWorld(t, "*/10 * * * *", func(s *batchv1.CronJobSpec) { s.SuccessfulJobsHistoryLimit = ptr.To(int32(100)) })
		made := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "seconds")) * time.Second)
			out, _ := w.e.Step(w.now)
			n := min(len(out), rapid.IntRange(0, 2*len(out)+1).Draw(t, "committed"))
			w.apply(out[:n])
			if n < len(out) {
				w.newLeader()
			}
			for _, o := range w.list(Jobs) {
				made[o.name] = true
			}
		}
		w.settle()
		active := map[string]bool{}
		for _, a := range w.cron().Status.Active {
			active[a.Name] = true
		}
		for _, o := range w.list(Jobs) {
			made[o.name] = true
		}
		if !maps.Equal(active, made) || slices.Contains(w.reasons("CronJob"), "UnexpectedJob") {
			t.Fatalf("made are %v, known %v, %q", made, active, w.reasons("CronJob"))
		}
	})
}

// TestStartsAreThoseOfTheClock compares what is due with a walk from start to start.
func TestStartsAreThoseOfTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"* * * * *", "*/7 3-5 * * 1-5", "30 6-16/4 * * 1-5", "0 0 1 * *", "@hourly", "@every 90s", "5 2 29 2 *"}).Draw(t, "schedule")
		r := &cronRun{c: &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: text, TimeZone: ptr.To("Europe/Berlin")}}}
		s, _, ok := r.schedule()
		if !ok {
			t.Fatalf("%q cannot be read", text)
		}
		from := time.Unix(rapid.Int64Range(1.6e9, 1.8e9).Draw(t, "from"), 0)
		now := from.Add(time.Duration(rapid.Int64Range(0, 40*86400).Draw(t, "seconds")) * time.Second)
		var last time.Time
		count := 0
		for at := s.Next(from); !at.IsZero() && !at.After(now); at = s.Next(at) {
			last, count = at, count+1
		}
		got := s.since(from, now)
		if !got.last.Equal(last) || got.count != min(count, missedMany+1) {
			t.Fatalf("%q from %s to %s: %+v, want %d to %s", text, from, now, got, count, last)
		}
		if next := s.next(later(from, last), now); !next.After(now) || !last.IsZero() && !next.Equal(s.Next(last)) {
			t.Fatalf("%q: after %s comes %s", text, last, next)
		}
	})
}
