package boot

import (
	"net/http"

	"github.com/hashicorp/go-metrics"
	"github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newMetrics makes go-metrics' global sink a Prometheus one and returns its page. Raft and memberlist
// report there by themselves.
func newMetrics() http.Handler {
	sink, err := prometheus.NewPrometheusSink()
	if err != nil {
		return nil // only a second sink in one process is refused: tests that run several agents
	}
	cfg := metrics.DefaultConfig("peapod")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
	if _, err := metrics.NewGlobal(cfg, sink); err != nil {
		return nil
	}
	return promhttp.Handler()
}
