package kube

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	flowmetrics "k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	flowrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/api"
)

// healthPaths are answered whatever else is asked.
var healthPaths = sets.New("/healthz", "/livez", "/readyz")

// flows is API priority and fairness: requests are classed by the FlowSchemas, and wait in the queues of their PriorityLevelConfigurations.
// Below it, seats.go divides the processors among users, also those whose requests are exempt here.
type flows struct {
	control flowcontrol.Interface
	objects informers.SharedInformerFactory
}

// newFlows makes what reads the objects, once Run has it read, through the server's own handlers.
func (s *Server) newFlows() error {
	client, err := kubernetes.NewForConfig(s.self.config())
	if err != nil {
		return fmt.Errorf("making the client of priority and fairness: %w", err)
	}
	flowmetrics.Register()
	s.flows.objects = informers.NewSharedInformerFactory(client, 0)
	s.flows.control = flowcontrol.New(s.flows.objects, client.FlowcontrolV1(), s.config.Limits.Flows)
	return nil
}

// run follows the objects until ctx ends.
func (f *flows) run(ctx context.Context) {
	f.objects.Start(ctx.Done())
	_ = f.control.Run(ctx.Done()) // its error is that ctx has ended before it knew the objects
	f.objects.Shutdown()
}

// withFlows lets in what has its turn. The server's own requests pass, for others may be waiting for them.
func (s *Server) withFlows(h http.Handler, c *server.Config) http.Handler {
	estimate := flowrequest.NewWorkEstimator(s.countObjects, noWatches, flowrequest.DefaultWorkEstimatorConfig(), s.flows.control.GetMaxSeats)
	flowing := genericfilters.WithPriorityAndFairness(h, c.LongRunningFunc, s.flows.control, estimate, c.RequestTimeout/4)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(ownRequest{}) != nil {
			h.ServeHTTP(w, r)
			return
		}
		flowing.ServeHTTP(w, r)
	})
}

// noWatches is how many watches a write is made to pay for: here an event is encoded once, and sent by who watches.
func noWatches(*request.RequestInfo) int { return 0 }

// countObjects says how much a list of a resource reads.
func (s *Server) countObjects(resource string) (storage.Stats, error) {
	gr := schema.ParseGroupResource(resource)
	if api.KindFor(gr) == nil {
		return storage.Stats{}, flowrequest.ObjectCountNotFoundErr
	}
	return storage.Stats{ObjectCount: int64(s.config.Store.Snapshot(gr).Len()), EstimatedAverageObjectSizeBytes: usualObject}, nil
}
