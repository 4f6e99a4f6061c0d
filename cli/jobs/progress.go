package jobs

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// progress is how far a group is.
type progress struct {
	name                    string
	desired, updated, ready int32
	// done is set when nothing more will happen; then failed is empty if all is well.
	done   bool
	failed string
}

func (p progress) String() string {
	state := "in progress"
	switch {
	case p.failed != "":
		state = "failed: " + p.failed
	case p.done:
		state = "healthy"
	}
	return fmt.Sprintf("%-24s desired %-4d updated %-4d ready %-4d %s", p.name, p.desired, p.updated, p.ready, state)
}

// deploymentProgress is pure, so that its rules are tested without a cluster.
func deploymentProgress(d *appsv1.Deployment) progress {
	p := progress{name: d.Name, desired: 1, updated: d.Status.UpdatedReplicas, ready: d.Status.ReadyReplicas}
	if d.Spec.Replicas != nil {
		p.desired = *d.Spec.Replicas
	}
	if d.Status.ObservedGeneration < d.Generation {
		return p // what status says is about an older version
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			p.done, p.failed = true, c.Message
			return p
		}
	}
	p.done = p.updated == p.desired && d.Status.Replicas == p.updated && d.Status.AvailableReplicas >= p.desired
	return p
}

func jobProgress(j *batchv1.Job) progress {
	p := progress{name: j.Name, desired: 1, updated: j.Status.Active + j.Status.Succeeded, ready: j.Status.Succeeded}
	if j.Spec.Completions != nil {
		p.desired = *j.Spec.Completions
	}
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			p.done = true
		case batchv1.JobFailed:
			p.done, p.failed = true, c.Message
		}
	}
	return p
}
