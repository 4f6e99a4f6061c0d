package boot

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	flowmetrics "k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// TestMetricsOfLibraries: the page has priority and fairness, and each name once.
func TestMetricsOfLibraries(t *testing.T) {
	flowmetrics.Register()
	flowmetrics.SetPriorityLevelConfiguration("some", 3, 2, 4)
	both := prometheus.NewCounter(prometheus.CounterOpts{Name: "workqueue_both_total", Help: "Is in both registries."})
	prometheus.MustRegister(both)
	legacyregistry.RawMustRegister(both)
	w := httptest.NewRecorder()
	metricsPage().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	page, err := parser.TextToMetricFamilies(w.Body) // which refuses a name that comes twice
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"workqueue_both_total": 1, "go_goroutines": 1, "registered_metrics_total": 0} {
		if got := len(page[name].GetMetric()); got != n {
			t.Errorf("%s has %d values, want %d", name, got, n)
		}
	}
	seats := page["apiserver_flowcontrol_nominal_limit_seats"].GetMetric()
	if len(seats) != 1 || seats[0].GetGauge().GetValue() != 3 {
		t.Errorf("the limits of the levels are %v", seats)
	}
}
