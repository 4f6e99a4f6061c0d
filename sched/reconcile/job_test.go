package reconcile

import (
	"fmt"
	"testing"

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
		if len(j.Status.Conditions) != 1 || j.Status.Conditions[0].Type != c.want || j.Status.Active != 0 {
			t.Fatalf("%s ends in %+v", c.phase, j.Status)
		}
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
	if n := len(w.list(Events)); n > 3*eventSlots {
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
