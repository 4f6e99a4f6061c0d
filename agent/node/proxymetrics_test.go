package node

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/peapod-sh/peapod/netproxy"
)

// one is a collector of a single metric.
type one struct{ m prometheus.Metric }

func (o one) Describe(ch chan<- *prometheus.Desc) { ch <- o.m.Desc() }
func (o one) Collect(ch chan<- prometheus.Metric) { ch <- o.m }

// A histogram's buckets are cumulative, and its count has what is above them all.
func TestHistogram(t *testing.T) {
	l := netproxy.Latency{Sum: 3 * time.Second}
	l.Buckets[0], l.Buckets[2], l.Buckets[len(l.Buckets)-1] = 2, 3, 1
	registry := prometheus.NewRegistry()
	registry.MustRegister(one{histogram(&l, []string{"default", "web", "80", "TCP"})})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 6 || h.GetSampleSum() != 3 {
		t.Errorf("%d in %v s", h.GetSampleCount(), h.GetSampleSum())
	}
	want := []uint64{2, 2, 5, 5}
	for i, n := range want {
		if b := h.GetBucket()[i]; b.GetCumulativeCount() != n || b.GetUpperBound() != netproxy.LatencyBounds[i].Seconds() {
			t.Errorf("bucket %d: %v", i, b)
		}
	}
}

// What is described can be registered, and every name is Peapod's.
func TestProxyMetricsAreDescribed(t *testing.T) {
	if err := prometheus.NewPedanticRegistry().Register(proxyMetrics{}); err != nil {
		t.Fatal(err)
	}
	ch := make(chan *prometheus.Desc, 100)
	proxyMetrics{}.Describe(ch)
	close(ch)
	for d := range ch {
		if !strings.Contains(d.String(), `"peapod_`) {
			t.Error(d)
		}
	}
}
