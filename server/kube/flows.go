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
	"k8s.io/apiserver/pkg/util/flowcontrol"
	flowmetrics "k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	flowrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
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
	flowing := genericfilters.WithPriorityAndFairness(h, c.LongRunningFunc, s.flows.control, s.estimateWork, c.RequestTimeout/4)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(ownRequest{}) != nil {
			h.ServeHTTP(w, r)
			return
		}
		flowing.ServeHTTP(w, r)
	})
}

// estimateWork says how many of its level's seats a request takes: one, and a list one more for each answerPerSeat that the resource may fill, for
// that is what it holds while its client reads. Time on the processors is not estimated but divided as it is used, beneath, and a write does not
// pay for the watches that it wakes: an event is encoded once, and sent by who watches.
func (s *Server) estimateWork(r *http.Request, _, level string) flowrequest.WorkEstimate {
	seats := uint64(1)
	if info, ok := request.RequestInfoFrom(r.Context()); ok && info.Name == "" && (info.Verb == "list" || info.Verb == "watch") {
		gr := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
		seats += uint64(s.config.Store.Snapshot(gr).Len()) * usualObject / answerPerSeat
	}
	if most := s.flows.control.GetMaxSeats(level); most > 0 {
		seats = min(seats, most)
	}
	return flowrequest.WorkEstimate{InitialSeats: seats}
}
