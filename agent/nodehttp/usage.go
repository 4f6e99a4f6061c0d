package nodehttp

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// usage adds what tells what the node's pods use: in protobuf for the servers' resource metrics API, and as people and their
// tools know it from other nodes.
func (h *handler) usage(mux *http.ServeMux) {
	meter := h.node.Usage()
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, r *http.Request) {
		sendProto(w, meter.Pods(r.Context(), r.URL.Query().Get("namespace")))
	})
	mux.HandleFunc("GET /usage/node", func(w http.ResponseWriter, r *http.Request) { sendProto(w, meter.Node(r.Context())) })
	mux.HandleFunc("GET /stats/summary", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(meter.Summary(r.Context())) // whoever asked has gone if this fails
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(meter.Collector())
	mux.Handle("GET /metrics/resource", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}

func sendProto(w http.ResponseWriter, m interface{ Marshal() ([]byte, error) }) {
	b, err := m.Marshal()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(b) // whoever asked has gone if this fails
}
