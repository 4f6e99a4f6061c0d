package server

import (
	"context"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/aggregate"
)

const (
	// servicesGlance is how often the leader looks whether something has changed that APIServices depend on. To look is to compare a few
	// numbers.
	servicesGlance = 250 * time.Millisecond
	// servicesAsk is how often a service that answers is asked, as in Kubernetes.
	servicesAsk = 30 * time.Second
	// servicesAskSoon is the same for one that does not answer though its endpoints are ready.
	servicesAskSoon = 2 * time.Second
)

var definitionsResource = schema.GroupResource{Group: apiextensionsv1.GroupName, Resource: "customresourcedefinitions"}

// serviceKeeper keeps the APIServices of one term: those of what the cluster serves itself, and the conditions of all.
type serviceKeeper struct {
	*Server
	own    func() uint64 // changes of APIServices
	all    []func() uint64
	stops  map[string]context.CancelFunc
	asking sync.WaitGroup
}

// keepAPIServices runs until ctx ends.
func (s *Server) keepAPIServices(ctx context.Context) error {
	k := &serviceKeeper{Server: s, own: s.state.Changes(aggregate.Resource), stops: map[string]context.CancelFunc{}}
	k.all = []func() uint64{k.own, s.state.Changes(aggregate.Services), s.state.Changes(aggregate.Slices)}
	defer k.asking.Wait()
	definitions := s.state.Changes(definitionsResource)
	settled, ticker := [2]uint64{}, time.NewTicker(servicesGlance)
	defer ticker.Stop()
	for done := false; ; {
		if now := [2]uint64{k.own(), definitions()}; !done || now != settled {
			settled = now
			done = k.settle(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle makes the local APIServices what they should be and sees that somebody asks for each of the others. It says whether that is all.
func (k *serviceKeeper) settle(ctx context.Context) (done bool) {
	have := k.apiServices()
	k.attendTo(ctx, have)
	serving := k.api.Load()
	if serving == nil {
		return false
	}
	want, known := serving.Locals()
	if !known {
		return false
	}
	changes := aggregate.Reconcile(want, have, metav1.NewTime(k.now().Truncate(time.Second)))
	var list []ops.Op
	for _, o := range changes.Create {
		list = append(list, k.unlessThere(aggregate.Resource.Group, aggregate.Resource.Resource, o)...)
	}
	for _, o := range changes.Update {
		list = append(list, &ops.Put{Resource: aggregate.Resource, Object: o, Expect: revisionOf(o)})
	}
	for _, o := range changes.Delete {
		list = append(list, &ops.Delete{Resource: aggregate.Resource, Name: o.Name, Expect: revisionOf(o)})
	}
	if err := k.attempt(ctx, list); err != nil && ctx.Err() == nil {
		k.log.Warn("cannot write the APIServices of what the cluster serves itself; will try again", "error", err)
	}
	return len(list) == 0
}

func (s *Server) apiServices() (out []*apiregistrationv1.APIService) {
	s.state.Table(aggregate.Resource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		out = append(out, o.(*apiregistrationv1.APIService))
		return true
	})
	return out
}

// attendTo has one goroutine for each APIService with a service: one that hangs holds up no other.
func (k *serviceKeeper) attendTo(ctx context.Context, have []*apiregistrationv1.APIService) {
	here := map[string]bool{}
	for _, s := range have {
		if s.Spec.Service == nil {
			continue
		}
		here[s.Name] = true
		if k.stops[s.Name] == nil {
			attending, stop := context.WithCancel(ctx)
			k.stops[s.Name] = stop
			k.asking.Go(func() { (&attendant{serviceKeeper: k, name: s.Name}).Run(attending) })
		}
	}
	for name, stop := range k.stops {
		if !here[name] {
			stop()
			delete(k.stops, name)
		}
	}
}

// attendant keeps the condition of one APIService.
type attendant struct {
	*serviceKeeper
	name  string
	asked *apiregistrationv1.APIService // as it was when its service was asked last; nil if it was not, or lacked something since
	due   time.Time                     // of the next question
	// passed says that it answered well when it was asked last, for the same object.
	passed bool
}

// Run looks after the APIService until ctx ends.
func (k *attendant) Run(ctx context.Context) {
	ticker := time.NewTicker(servicesGlance)
	defer ticker.Stop()
	var seen [3]uint64
	for first := true; ; first = false {
		var now [3]uint64
		for i, count := range k.all {
			now[i] = count()
		}
		if first || now != seen || !k.now().Before(k.due) {
			seen = now
			k.look(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look finds out what the service lacks, and asks it if it lacks nothing and was not asked a moment ago.
func (k *attendant) look(ctx context.Context) {
	o, there := k.state.Get(aggregate.Resource, "", k.name)
	serving := k.api.Load()
	if !there || serving == nil {
		return
	}
	s := o.(*apiregistrationv1.APIService)
	if s.Spec.Service == nil {
		return
	}
	condition, ready := aggregate.Missing(s, facts{k.Server})
	if !ready {
		k.asked, k.due, k.passed = nil, k.now().Add(servicesAsk), false
		k.write(ctx, s, condition)
		return
	}
	same := k.asked != nil && k.asked.UID == s.UID && equality.Semantic.DeepEqual(k.asked.Spec, s.Spec)
	if same && k.now().Before(k.due) {
		return
	}
	k.passed = k.passed && same
	condition = serving.Available(ctx, s)
	if ctx.Err() != nil {
		return
	}
	passed, before := condition.Status == apiregistrationv1.ConditionTrue, k.passed
	k.asked, k.due, k.passed = s, k.now().Add(servicesAsk), passed
	if !passed {
		k.due = k.now().Add(servicesAskSoon)
	}
	if !passed && before {
		return // once may be chance
	}
	k.write(ctx, s, condition)
}

// write puts a condition that is another than before into the object that it was found for.
func (k *serviceKeeper) write(ctx context.Context, s *apiregistrationv1.APIService, c apiregistrationv1.APIServiceCondition) {
	old := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
	if old != nil && old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
		return
	}
	next := s.DeepCopy()
	c.LastTransitionTime = metav1.NewTime(k.now().Truncate(time.Second))
	helper.SetAPIServiceCondition(next, c)
	if err := k.attempt(ctx, []ops.Op{&ops.Put{Resource: aggregate.Resource, Object: next, Expect: revisionOf(s)}}); err != nil && ctx.Err() == nil {
		k.log.Warn("cannot say whether an APIService is available; will try again", "name", s.Name, "error", err)
	}
}

// facts are the local state as the package aggregate reads it.
type facts struct{ s *Server }

var _ aggregate.State = facts{}

// Object implements aggregate.State.
func (f facts) Object(gr schema.GroupResource, namespace, name string) runtime.Object {
	o, _ := f.s.state.Get(gr, namespace, name)
	return o
}

// Objects implements aggregate.State.
func (f facts) Objects(gr schema.GroupResource, namespace string) (out []runtime.Object) {
	f.s.state.Table(gr).Ascend(namespace, "", func(ns, _ string, o runtime.Object) bool {
		if ns == namespace {
			out = append(out, o)
		}
		return ns == namespace
	})
	return out
}
