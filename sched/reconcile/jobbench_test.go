package reconcile

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// BenchmarkJobOfThousand runs a job of a thousand pods from its first pod to its end, in the modelled world. It prints the processor's time
// and the bytes of log for each pod.
func BenchmarkJobOfThousand(b *testing.B) {
	const n = 1000
	cpu := func() (t time.Duration) {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	var spent time.Duration
	var logged int
	for range b.N {
		w := standardWorld(b, 1, 0)
		for i := range 20 {
			w.addNode(fmt.Sprintf("n%d", i), "64", "250")
		}
		w.settle()
		w.check = func(list []ops.Op) {
			text, _ := ops.Encode(list)
			logged += len(text)
		}
		j := testJob("a", 1_000_000)
		j.Spec.Parallelism, j.Spec.Completions, j.Spec.BackoffLimit = ptr.To(int32(n)), ptr.To(int32(n)), ptr.To(int32(6))
		before := cpu()
		w.put(Jobs, j)
		w.settle()
		var list []*api.PodRecord
		for _, rec := range w.pods {
			list = append(list, rec)
		}
		for i, rec := range list { // ends arrive 20 at a time
			next := *rec
			text, _ := (&corev1.PodStatus{Phase: corev1.PodSucceeded}).Marshal()
			_ = next.SetStatus(text)
			w.putRecord(rec, &next)
			if i%20 == 19 {
				w.settle()
			}
		}
		spent += cpu() - before
		if !jobDone(w.job("a")) {
			b.Fatalf("%+v", w.job("a").Status)
		}
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N*n), "cpu-µs/pod")
	b.ReportMetric(float64(logged)/float64(b.N*n), "log-bytes/pod")
}
