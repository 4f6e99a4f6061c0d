package reconcile

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/peapod-sh/peapod/api/ops"
)

// BenchmarkPreempt1000 prints the processor time in which the engine decides that 1,000 pods go for 1,000 others, all ops included.
func BenchmarkPreempt1000(b *testing.B) {
	var spent time.Duration
	for b.Loop() {
		w := newWorld(b, 1)
		for i := range 100 {
			w.addNode(fmt.Sprint("n", i), "10", "110")
		}
		deploy := func(name string, priority int32) {
			d := testDeployment(name, 1000)
			d.Spec.Template.Spec.Priority = &priority
			d.Spec.Template.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1")
			w.put(Deployments, d)
		}
		deploy("low", 1)
		w.converge()
		deploy("high", 2)
		victims := 0
		for victims < 1000 {
			from := benchTime()
			out, _ := w.e.Step(w.now)
			spent += benchTime() - from
			for _, op := range out {
				if d, ok := op.(*ops.DeletePods); ok {
					victims += len(d.Rows)
				}
			}
			if len(out) == 0 {
				b.Fatalf("%d go", victims)
			}
			w.apply(out)
		}
	}
	b.ReportMetric(spent.Seconds()*1000/float64(b.N), "ms/1000pods")
}

func benchTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
