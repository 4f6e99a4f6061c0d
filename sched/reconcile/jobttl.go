package reconcile

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// expireJob deletes a job that ended long enough ago; the job waits until its pods are gone.
func (e *Engine) expireJob(o *object, j *batchv1.Job) {
	ended := jobEnded(j)
	if j.Spec.TTLSecondsAfterFinished == nil || ended.IsZero() {
		return
	}
	at := ended.Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second)
	if e.now.Before(at) {
		e.wake(key{area: areaJob, ns: j.Namespace, name: j.Name}, at)
		return
	}
	e.deleteObject(o, metav1.FinalizerDeleteDependents)
}

// jobEnded is when a job completed or failed; zero while it goes on.
func jobEnded(j *batchv1.Job) (at time.Time) {
	for _, c := range j.Status.Conditions {
		if endsJob(c) {
			at = later(at, c.LastTransitionTime.Time)
		}
	}
	return at
}
