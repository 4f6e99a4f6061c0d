package reconcile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

// end lets every running pod end in the phase.
func (w *world) end(phase corev1.PodPhase) {
	for _, rec := range w.pods {
		if rec.Node == "" || rec.Terminal() {
			continue
		}
		next := *rec
		b, _ := (&corev1.PodStatus{Phase: phase}).Marshal()
		_ = next.SetStatus(b)
		w.putRecord(rec, &next)
	}
}

func TestJobEnds(t *testing.T) {
	for _, c := range []struct {
		phase corev1.PodPhase
		want  batchv1.JobConditionType
	}{{corev1.PodSucceeded, batchv1.JobComplete}, {corev1.PodFailed, batchv1.JobFailed}} {
		w := standardWorld(t, 1, 2)
		parallel, completions, limit := int32(2), int32(3), int32(1)
		w.put(Jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "once"}, Spec: batchv1.JobSpec{
			Parallelism: &parallel, Completions: &completions, BackoffLimit: &limit, Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}})
		for range 4 {
			w.settle()
			w.end(c.phase)
		}
		w.settle()
		j := w.objects[ref{Jobs, "default", "once"}].obj.(*batchv1.Job)
		if got := j.Status.Conditions; len(got) != 2 || got[0].Type != announcements[c.want] || got[1].Type != c.want || got[0].Reason != got[1].Reason || j.Status.Active != 0 {
			t.Fatalf("%s ends in %+v", c.phase, j.Status)
		}
	}
}

func (w *world) job(name string) *batchv1.Job {
	return w.objects[ref{Jobs, "default", name}].obj.DeepCopyObject().(*batchv1.Job)
}

// says are the conditions of a job that are true.
func says(j *batchv1.Job) (out []batchv1.JobConditionType) {
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			out = append(out, c.Type)
		}
	}
	return out
}

// A job has not ended while a pod of it still does something.
func TestJobWaitsForItsPodsToEnd(t *testing.T) {
	w := standardWorld(t, 1, 2)
	one, deadline := int32(2), int64(5)
	w.put(Jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late"}, Spec: batchv1.JobSpec{
		Parallelism: &one, Completions: &one, ActiveDeadlineSeconds: &deadline, Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}})
	w.settle()
	w.work()
	w.now = w.now.Add(6 * time.Second)
	w.settle()
	j := w.job("late")
	if got := says(j); !slices.Equal(got, []batchv1.JobConditionType{batchv1.JobFailureTarget}) || *j.Status.Terminating != 2 || j.Status.Active != 0 {
		t.Fatalf("%v, %+v", got, j.Status)
	}
	w.converge()
	j = w.job("late")
	if got := says(j); !slices.Equal(got, []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}) || *j.Status.Terminating != 0 ||
		j.Status.Conditions[1].Reason != batchv1.JobReasonDeadlineExceeded {
		t.Fatalf("%v, %+v", got, j.Status)
	}
}

func TestJobIsSuspendedAndResumed(t *testing.T) {
	w := standardWorld(t, 1, 2)
	one, deadline := int32(1), int64(60)
	w.put(Jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: batchv1.JobSpec{
		Parallelism: &one, Completions: &one, ActiveDeadlineSeconds: &deadline, Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}})
	w.converge()
	suspend := func(yes bool) {
		j := w.job("a")
		j.Spec.Suspend = &yes
		w.put(Jobs, j)
		w.converge()
	}
	suspend(true)
	j := w.job("a")
	if c := j.Status.Conditions; len(c) != 1 || c[0].Type != batchv1.JobSuspended || c[0].Status != corev1.ConditionTrue || c[0].Reason != "JobSuspended" || j.Status.Active != 0 || len(w.pods) != 0 {
		t.Fatalf("suspended: %+v with %d pods", j.Status, len(w.pods))
	}
	w.now = w.now.Add(time.Hour) // which does not count
	w.settle()
	suspend(false)
	j = w.job("a")
	if c := j.Status.Conditions; len(c) != 1 || c[0].Status != corev1.ConditionFalse || c[0].Reason != "JobResumed" || j.Status.Active != 1 || w.now.Sub(j.Status.StartTime.Time) > time.Minute {
		t.Fatalf("resumed at %s: %+v", w.now, j.Status)
	}
	var reasons []string
	for _, o := range w.list(Events) {
		if ev := o.obj.(*corev1.Event); ev.InvolvedObject.Kind == "Job" && ev.Reason != "SuccessfulCreate" && ev.Reason != "SuccessfulDelete" {
			reasons = append(reasons, fmt.Sprintf("%s: %s x%d", ev.Reason, ev.Message, ev.Count))
		}
	}
	slices.Sort(reasons)
	if !slices.Equal(reasons, []string{"Resumed: Job resumed x1", "Suspended: Job suspended x1"}) {
		t.Fatalf("events %q", reasons)
	}
}

func TestManyEndpointsAreCutIntoSlices(t *testing.T) {
	w := standardWorld(t, 1, 3)
	w.addService("web", "web")
	d := testDeployment("web", 230)
	d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	w.put(Deployments, d)
	w.converge()
	total := 0
	for _, o := range w.list(EndpointSlices) {
		n := len(o.obj.(*discoveryv1.EndpointSlice).Endpoints)
		if n > sliceEndpointsMax {
			t.Fatalf("a slice has %d endpoints", n)
		}
		total += n
	}
	if total != 230 || w.readyAddresses("web") != 230 {
		t.Fatalf("%d endpoints in slices, %d addresses", total, w.readyAddresses("web"))
	}
	if n := len(w.list(Events)); n > 3*podEventSlots {
		t.Fatalf("%d events about one batch", n)
	}
}

func BenchmarkTenThousandPods(b *testing.B) {
	for b.Loop() {
		w := standardWorld(b, 1, 0)
		for i := range 100 {
			w.addNode(fmt.Sprintf("n%d", i), "64", "250")
		}
		w.addService("web", "web")
		d := testDeployment("web", 10000)
		d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
		w.put(Deployments, d)
		w.settle()
		var batch []*api.PodRecord
		for _, r := range w.pods {
			batch = append(batch, r)
		}
		for len(batch) > 0 { // statuses arrive 100 at a time
			for _, r := range batch[:100] {
				w.start(r)
			}
			batch = batch[100:]
			w.settle()
		}
	}
}
