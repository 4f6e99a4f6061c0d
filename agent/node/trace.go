package node

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/peapod-sh/peapod/agent/nodehttp"
	"github.com/peapod-sh/peapod/agent/services"
)

// newHandler answers the servers' calls: what concerns pods, and what the proxy does with services.
func (n *node) newHandler() http.Handler {
	m := http.NewServeMux()
	m.Handle("/", nodehttp.New(n.agent))
	m.HandleFunc("GET /services/{namespace}/{name}", n.traceService)
	registry := prometheus.NewRegistry()
	registry.MustRegister(proxyMetrics{n.proxy})
	m.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return m
}

// traceService tells what a client on this node would hit.
func (n *node) traceService(w http.ResponseWriter, r *http.Request) {
	t := services.Trace{Node: n.cfg.Name, Known: n.model.Revision(), InForce: n.proxy.Generation(),
		Ports: n.proxy.Trace(r.PathValue("namespace"), r.PathValue("name"))}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(t) // whoever asked has gone if this fails
}
