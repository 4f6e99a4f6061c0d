package node

import (
	"net/netip"
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
	registry.MustRegister(one{histogram(portLatency, &l, []string{"default", "web", "80", "TCP"})})
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

// traced stands for a proxy.
type traced []netproxy.PortTrace

func (p traced) Ports() []netproxy.PortTrace { return p }

// There are as many series as ports and endpoints are in use, whatever the cluster has; each of them says what the proxy counted.
func TestProxyMetricsOfWhatIsUsed(t *testing.T) {
	at := netip.MustParseAddrPort
	name := func(n string) netproxy.TargetName {
		return netproxy.TargetName{Namespace: "default", Name: n, Port: 80}
	}
	took := netproxy.Latency{Sum: 1500 * time.Millisecond}
	took.Buckets[3], took.Buckets[5] = 2, 1
	busy := netproxy.PortTrace{Name: name("busy"), Counters: netproxy.Counters{Connections: 3, BytesIn: 5}, Backends: []netproxy.BackendTrace{
		{Address: at("10.0.0.1:80"), Connections: 3, BytesIn: 5, BytesOut: 7, Latency: took}, {Address: at("10.0.0.2:80")}, {Address: at("10.0.0.3:80"), Failures: 2}}}
	idle := netproxy.PortTrace{Name: name("idle"), Backends: []netproxy.BackendTrace{{Address: at("10.0.0.1:80")}}}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(proxyMetrics{traced{busy, idle}})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "service" || l.GetName() == "endpoint" {
					key += " " + l.GetValue()
				}
			}
			got[key] = m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				got[key+" count"], got[key+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
			}
		}
	}
	for key, want := range map[string]float64{"peapod_service_connections_total busy": 3, "peapod_service_received_bytes_total busy": 5,
		"peapod_endpoint_received_bytes_total 10.0.0.1:80 busy": 5, "peapod_endpoint_sent_bytes_total 10.0.0.1:80 busy": 7,
		"peapod_endpoint_connect_seconds 10.0.0.1:80 busy sum": 1.5, "peapod_endpoint_connect_seconds 10.0.0.1:80 busy count": 3, "peapod_endpoint_connect_failures_total 10.0.0.3:80 busy": 2} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	for key := range got {
		if strings.Contains(key, "idle") || strings.Contains(key, "10.0.0.2") {
			t.Errorf("%s is said of what nobody used", key)
		}
	}
}
