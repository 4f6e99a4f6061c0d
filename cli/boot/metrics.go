package boot

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/go-metrics"
	sinks "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// librariesSay is how the names begin of those metrics of Kubernetes' libraries that mean here what they mean there. The others are about what
// is done in another way here, as storage and most requests are, or about the registry itself.
var librariesSay = []string{
	"aggregator_",
	"apiextensions_",
	"apiserver_admission_",
	"apiserver_audit_",
	"apiserver_cel_",
	"apiserver_client_certificate_",
	"apiserver_flowcontrol_",
	"apiserver_validating_admission_policy_",
	"apiserver_mutating_admission_policy_",
	"apiserver_webhooks_",
	"authenticated_user_requests",
	"authentication_",
	"authorization_",
	"workqueue_",
}

// newMetrics makes go-metrics' global sink a Prometheus one and returns the page of all metrics. Raft and memberlist
// report there by themselves, Kubernetes' libraries to a registry of theirs.
func newMetrics() http.Handler {
	sink, err := sinks.NewPrometheusSink()
	if err != nil {
		return nil // only a second sink in one process is refused: tests that run several agents
	}
	cfg := metrics.DefaultConfig("peapod")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
	if _, err := metrics.NewGlobal(cfg, sink); err != nil {
		return nil
	}
	return metricsPage()
}

func metricsPage() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(gather), promhttp.HandlerOpts{})
}

// gather gives each name once: both registries have the process and Go's runtime, and what the libraries collect themselves is in both too.
func gather() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	have := map[string]bool{}
	for _, f := range all {
		have[f.GetName()] = true
	}
	theirs, theirErr := legacyregistry.DefaultGatherer.Gather()
	for _, f := range theirs {
		said := slices.ContainsFunc(librariesSay, func(prefix string) bool { return strings.HasPrefix(f.GetName(), prefix) })
		if said && !have[f.GetName()] {
			all = append(all, f)
		}
	}
	return all, errors.Join(err, theirErr)
}
