package reconcile

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// BenchmarkDeployments brings 1,000 Deployments of 10 into being on 1,000 nodes, some a round as they come through the API, and their
// pods run after they were made, some a round as their nodes say so. It prints what the engine spends on one of them, and how
// many writes of each kind it asks for.
func BenchmarkDeployments(b *testing.B) {
	const deployments, aRound = 1000, 10
	var spent time.Duration
	writes := map[string]int{}
	for b.Loop() {
		w := newWorld(b, 1)
		w.e.cfg.StatusPause, w.e.cfg.PodEventsPerSecond = 100*time.Millisecond, 100 // as servers have it
		for i := range 1000 {
			w.addNode(fmt.Sprintf("n%04d", i), "64", "110")
		}
		w.settleQuietly()
		waiting, asked := []types.NamespacedName{}, 0
		for round := 0; asked < deployments || len(waiting) > 0; round++ {
			from := benchTime()
			for range min(aRound, deployments-asked) {
				w.put(Deployments, testDeployment(fmt.Sprint("web", asked), 10))
				asked++
			}
			due := waiting[:min(len(waiting), 12*aRound)]
			waiting = waiting[len(due):]
			for _, k := range due {
				w.start(w.pods[k])
			}
			w.now = w.now.Add(2 * time.Millisecond)
			out, _ := w.e.Step(w.now)
			w.apply(out)
			spent += benchTime() - from
			waiting = append(waiting, countWrites(writes, out)...)
		}
		w.settleQuietly()
	}
	n := float64(b.N * deployments)
	b.ReportMetric(spent.Seconds()*1e6/n, "us/Deployment")
	for kind, count := range writes {
		b.ReportMetric(float64(count)/n, kind+"/Deployment")
	}
}

// countWrites adds up ops by what they write, and returns the pods that they make.
func countWrites(sum map[string]int, list []ops.Op) (made []types.NamespacedName) {
	for _, op := range list {
		switch op := op.(type) {
		case *ops.Put:
			sum[op.Resource.Resource]++
		case *ops.PlanPods:
			sum["plans"]++
			for _, r := range op.Rows {
				made = append(made, types.NamespacedName{Namespace: op.Template.Namespace, Name: op.Template.GenerateName + r.Suffix})
			}
		}
	}
	return made
}
