package usage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// rig is a node with one pod of two containers, of which one runs, in virtual time: it uses 300 thousandths of a processor
// from its start and a quarter of them after a minute.
type rig struct {
	*Meter
	began time.Time
	fault error
}

func newRig(t *testing.T) *rig {
	r := &rig{began: time.Now()}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "p", UID: "u", Labels: map[string]string{"app": "p"}}}
	pod.Status.StartTime = &metav1.Time{Time: r.began}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "on", ContainerID: "peapod://c-on", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(r.began)}}},
		{Name: "off", ContainerID: "peapod://c-off"},
	}
	idle := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "done", UID: "v"}}
	r.Meter = New(Config{Node: "n1", Proc: proc(t), Pods: func() []*corev1.Pod { return []*corev1.Pod{idle, pod} }, Stats: r.stats})
	return r
}

// proc is a machine's counters: 2.5 s of processor time, 1000 KiB of memory of which 600 are available.
func proc(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"stat":    "cpu  100 0 150 9000 0 0 0 0 0 0\nbtime 946684700\n",
		"meminfo": "MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 600 kB\nAnonPages: 200 kB\nSwapTotal: 50 kB\nSwapFree: 40 kB\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (r *rig) stats(_ context.Context, uid string) (runtime.PodStats, error) {
	if r.fault != nil || uid != "u" {
		return runtime.PodStats{}, fmt.Errorf("pod %s: %w", uid, r.fault)
	}
	age := time.Since(r.began)
	spent := min(age, time.Minute)*3/10 + max(0, age-time.Minute)*3/40
	u := runtime.Usage{Time: time.Now(), CPUNanos: uint64(spent), MemoryBytes: 9 << 20, WorkingSetBytes: 7 << 20, Processes: 3}
	return runtime.PodStats{Usage: u, Containers: map[string]runtime.Usage{"c-on": u}}, nil
}

func TestRatesAreOfTheLastMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		time.Sleep(4 * time.Second)
		list := r.Pods(t.Context(), "") // the first reading: since the start
		if len(list.Items) != 1 || list.Items[0].Name != "p" || list.Items[0].Labels["app"] != "p" {
			t.Fatalf("the pods are %+v", list.Items)
		}
		c := list.Items[0].Containers
		if len(c) != 1 || c[0].Name != "on" || c[0].Usage.Cpu().MilliValue() != 300 || c[0].Usage.Memory().Value() != 7<<20 {
			t.Errorf("the container uses %+v", c)
		}
		ctx, stop := context.WithCancel(t.Context())
		go r.Run(ctx)
		time.Sleep(2 * time.Minute)
		list = r.Pods(t.Context(), "web")
		if got := list.Items[0].Containers[0].Usage.Cpu().MilliValue(); got != 75 {
			t.Errorf("after it calmed down it uses %d thousandths", got)
		}
		if w := list.Items[0].Window.Duration; w <= 0 || w > Period {
			t.Errorf("the window is %v", w)
		}
		if n := len(r.Pods(t.Context(), "other").Items); n != 0 {
			t.Errorf("another namespace has %d pods", n)
		}
		stop()
		synctest.Wait()
	})
}

func TestNodeAndSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		time.Sleep(10 * time.Second)
		n := r.Node(t.Context())
		if n.Name != "n1" || n.Usage.Memory().Value() != 400<<10 || n.Usage.Cpu().IsZero() {
			t.Errorf("the node uses %+v", n)
		}
		s := r.Summary(t.Context())
		if len(s.Pods) != 1 || s.Pods[0].PodRef.Name != "p" || *s.Pods[0].CPU.UsageNanoCores != 300_000_000 ||
			*s.Pods[0].ProcessStats.ProcessCount != 3 || *s.Pods[0].Containers[0].Memory.WorkingSetBytes != 7<<20 {
			t.Errorf("the summary is %+v", s)
		}
		if *s.Node.CPU.UsageCoreNanoSeconds != 2_500_000_000 || *s.Node.Swap.SwapUsageBytes != 10<<10 {
			t.Errorf("the summary of the node is %+v", s.Node)
		}
	})
}

// A pod that cannot be read takes nobody else's numbers with it.
func TestUnreadablePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fault = fmt.Errorf("the disk is on fire")
		time.Sleep(time.Second)
		if n := len(r.Pods(t.Context(), "").Items); n != 0 {
			t.Errorf("%d pods are told of", n)
		}
		if r.Node(t.Context()).Usage.Memory().IsZero() {
			t.Error("the node's memory is not told")
		}
	})
}

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		time.Sleep(10 * time.Second)
		reg := prometheus.NewPedanticRegistry()
		if err := reg.Register(r.Collector()); err != nil {
			t.Fatal(err)
		}
		want := `
# HELP container_memory_working_set_bytes The container's working set, in bytes.
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="on",namespace="web",pod="p"} 7.340032e+06 946684810000
# HELP pod_cpu_usage_seconds_total Processor time that the pod has used, in seconds.
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="web",pod="p"} 3 946684810000
# HELP resource_scrape_error 1 if the containers' usage could not be read, else 0.
# TYPE resource_scrape_error gauge
resource_scrape_error 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "container_memory_working_set_bytes", "pod_cpu_usage_seconds_total", "resource_scrape_error"); err != nil {
			t.Error(err)
		}
	})
}
