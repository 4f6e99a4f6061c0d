package jobspecs

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nomadBatchAttempts is how often a batch task is tried again by default.
const nomadBatchAttempts = 3

// batchJob runs the group count times, all at once.
func (g *group) batchJob() *batchv1.Job {
	attempts := int32(nomadBatchAttempts)
	g.pod.RestartPolicy = corev1.RestartPolicyOnFailure
	if r := g.one("restart"); r != nil {
		if n, ok := r.number("attempts", 0, 1<<30); ok {
			attempts = int32(n) // #nosec G115 -- bounded
		}
		r.duration("interval")
		r.duration("delay")
		if r.choice("mode", "fail", "delay") == "delay" {
			r.fault(r.where("mode"), "a batch job ends after its attempts: raise attempts, or use type = \"service\" for what should run for ever")
		}
	}
	if g.has("update") || g.job.update != nil {
		g.fault(g.at, "batch jobs are not updated in steps: leave out update")
	}
	if g.count < 1 {
		g.fault(g.where("count"), "a batch group needs a count of 1 or more")
	}
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: g.meta1(),
		Spec: batchv1.JobSpec{
			Completions: &g.count, Parallelism: &g.count, BackoffLimit: &attempts,
			Template: g.template(),
		},
	}
}
