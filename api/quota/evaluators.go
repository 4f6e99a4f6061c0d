package quota

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	"github.com/peapod-sh/peapod/api"
)

// shortNames are what counts of some kinds are called beside "count/...".
var shortNames = map[string]corev1.ResourceName{
	"configmaps": corev1.ResourceConfigMaps, "secrets": corev1.ResourceSecrets, "resourcequotas": corev1.ResourceQuotas,
	"replicationcontrollers": corev1.ResourceReplicationControllers,
}

// CountPrefix is before the resource, with its group if it has one, of which a quota counts the objects.
const CountPrefix = "count/"

// Registry has an evaluator for every kind that has namespaces, but for events, of which nobody decides how many there are. Kinds that
// are not in the table are custom resources, whose objects are counted.
var Registry = sync.OnceValue(func() quota.Registry {
	r := generic.NewRegistry(nil)
	for _, k := range api.Kinds() {
		if gr := k.GroupResource(); !k.ClusterScoped && gr.Resource != "events" {
			r.Add(evaluatorOf(gr))
		}
	}
	return registry{r}
})

type registry struct{ quota.Registry }

// Get implements quota.Registry.
func (r registry) Get(gr schema.GroupResource) quota.Evaluator {
	if e := r.Registry.Get(gr); e != nil || api.KindFor(gr) != nil {
		return e
	}
	return evaluatorOf(gr)
}

func evaluatorOf(gr schema.GroupResource) quota.Evaluator {
	switch gr {
	case schema.GroupResource{Resource: "pods"}:
		return evaluator{resource: gr, usage: podUsage, names: podNames, scope: podScope, constraints: podConstraints, handles: handlesPod}
	case schema.GroupResource{Resource: "services"}:
		return evaluator{resource: gr, usage: serviceUsage, names: serviceNames, scope: generic.MatchesNoScopeFunc, handles: handlesWhole}
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return evaluator{resource: gr, usage: claimUsage, names: claimNames, scope: generic.MatchesNoScopeFunc, handles: handlesWhole}
	}
	short := corev1.ResourceName("")
	if gr.Group == "" {
		short = shortNames[gr.Resource]
	}
	return generic.NewObjectCountEvaluator(gr, nobody, short)
}

// nobody lists nothing: whoever sums up gives the objects.
func nobody(string) ([]runtime.Object, error) { return nil, nil }

// evaluator is that of a kind of which more than the number counts.
type evaluator struct {
	resource    schema.GroupResource
	usage       func(runtime.Object) (corev1.ResourceList, error)
	names       func(corev1.ResourceName) bool // is it one that the kind has?
	scope       generic.MatchesScopeFunc
	constraints func(required []corev1.ResourceName, o runtime.Object) error // nil for none
	handles     func(admission.Attributes) bool
}

var _ quota.Evaluator = evaluator{}

func (e evaluator) GroupResource() schema.GroupResource                 { return e.resource }
func (e evaluator) Handles(at admission.Attributes) bool                { return e.handles(at) }
func (e evaluator) Usage(o runtime.Object) (corev1.ResourceList, error) { return e.usage(o) }

func (e evaluator) Constraints(required []corev1.ResourceName, o runtime.Object) error {
	if e.constraints == nil {
		return nil
	}
	return e.constraints(required, o)
}

func (e evaluator) Matches(q *corev1.ResourceQuota, o runtime.Object) (bool, error) {
	return generic.Matches(q, o, e.MatchingResources, e.scope)
}

func (e evaluator) MatchingScopes(o runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) (out []corev1.ScopedResourceSelectorRequirement, err error) {
	for _, s := range scopes {
		ok, err := e.scope(s, o)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// UncoveredQuotaScopes is about resources that are limited by default, of which there are none.
func (e evaluator) UncoveredQuotaScopes([]corev1.ScopedResourceSelectorRequirement, []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return nil, nil
}

func (e evaluator) MatchingResources(in []corev1.ResourceName) (out []corev1.ResourceName) {
	for _, n := range in {
		if e.names(n) || n == generic.ObjectCountQuotaResourceNameFor(e.resource) {
			out = append(out, n)
		}
	}
	return out
}

func (e evaluator) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, nobody, e.scope, e.usage)
}

// handlesWhole: the object itself, new or changed.
func handlesWhole(at admission.Attributes) bool {
	return at.GetSubresource() == "" && (at.GetOperation() == admission.Create || at.GetOperation() == admission.Update)
}

// Used is what an object takes of a quota: nothing if the quota is about others.
func Used(q *corev1.ResourceQuota, gr schema.GroupResource, o runtime.Object) corev1.ResourceList {
	e := Registry().Get(gr)
	if e == nil {
		return nil
	}
	of := *q
	of.Status.Hard = q.Spec.Hard // a new quota's status says nothing yet
	if ok, err := e.Matches(&of, o); err != nil || !ok {
		return nil
	}
	used, err := e.Usage(o)
	if err != nil {
		return nil
	}
	return quota.Mask(used, quota.ResourceNames(q.Spec.Hard))
}
