package kube

import (
	"context"
	"errors"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	discovery "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/aggregate"
)

// aggregation is the part of the API that others serve.
type aggregation struct {
	*aggregate.Aggregator
	updated chan struct{}                 // holds one message: an Update that nobody has seen yet
	builtin map[schema.GroupVersion]int32 // the versions of the table's kinds, with their priority in their group
}

// The priorities of APIServices, as Kubernetes has them.
const (
	coreGroupPriority     = 18000
	customGroupPriority   = 1000
	customVersionPriority = 100
)

func (s *Server) newAggregation() {
	s.aggregation = aggregation{updated: make(chan struct{}, 1), builtin: map[schema.GroupVersion]int32{},
		Aggregator: aggregate.New(aggregate.Config{Services: wayToServices{s}, Certificate: s.config.FrontProxy, Codecs: api.Codecs,
			Changed: func() { s.openAPI.changes.Add(1) }})}
}

// noteBuiltin takes down the versions that this server serves by itself.
func (s *Server) noteBuiltin(groups map[string][]metav1.GroupVersionForDiscovery) {
	for group, versions := range groups {
		for i, v := range versions {
			s.aggregation.builtin[schema.GroupVersion{Group: group, Version: v.Version}] = int32(versionPriority - i) // #nosec G115 -- a group has few versions
		}
	}
	s.aggregation.builtin[apiextensionsv1.SchemeGroupVersion] = versionPriority
}

// Locals are the versions that this server serves itself: those of the table, and those of custom resources that are established here. ok
// says that the latter are known.
func (s *Server) Locals() (out []aggregate.Local, ok bool) {
	for gv, priority := range s.aggregation.builtin {
		l := aggregate.Local{GroupVersion: gv, GroupPriority: int32(groupPriority(gv.Group)), VersionPriority: priority} // #nosec G115 -- at most 17900
		if gv.Group == "" {
			l.GroupPriority, l.VersionPriority = coreGroupPriority, 1
		}
		out = append(out, l)
	}
	custom := sets.New[schema.GroupVersion]()
	for _, d := range s.custom.established() {
		for _, v := range servedVersionsOf(d) {
			custom.Insert(schema.GroupVersion{Group: d.Spec.Group, Version: v})
		}
	}
	for gv := range custom {
		if _, taken := s.aggregation.builtin[gv]; !taken {
			out = append(out, aggregate.Local{GroupVersion: gv, GroupPriority: customGroupPriority, VersionPriority: customVersionPriority, Custom: true})
		}
	}
	slices.SortFunc(out, func(a, b aggregate.Local) int { return compareGroupVersions(a.GroupVersion, b.GroupVersion) })
	return out, s.custom.informer.HasSynced()
}

// Available asks the service of an APIService whether it answers.
func (s *Server) Available(ctx context.Context, o *apiregistrationv1.APIService) apiregistrationv1.APIServiceCondition {
	return s.aggregation.Available(ctx, o)
}

// EmptyServices has the API servers behind APIServices delete what they have of a namespace, and says what is left.
func (s *Server) EmptyServices(ctx context.Context, namespace string) *aggregate.Left {
	return s.aggregation.Empty(ctx, namespace)
}

// followServices keeps what others serve as the APIServices of the local state say, until ctx ends.
func (s *Server) followServices(ctx context.Context) {
	for ctx.Err() == nil {
		snapshot := s.config.Store.Snapshot(aggregate.Resource)
		s.takeServices(snapshot)
		changes, err := s.config.Store.Watch(aggregate.Resource, snapshot.Revision())
		if err == nil {
			_, err = changes.Next(ctx)
			changes.Close()
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrTooOld) {
			s.config.Logger.Warn("cannot follow the APIServices; will try again", "error", err)
		}
	}
}

func (s *Server) takeServices(snapshot Snapshot) {
	var all []*apiregistrationv1.APIService
	snapshot.Ascend("", "", func(_, _ string, o runtime.Object) bool {
		if a, ok := o.(*apiregistrationv1.APIService); ok {
			all = append(all, a)
		}
		return true
	})
	s.aggregation.Update(all)
	s.listed.take(s.aggregation.Groups())
	select {
	case s.aggregation.updated <- struct{}{}:
	default:
	}
}

// refreshServices keeps discovery of what others serve up to date, until ctx ends.
func (s *Server) refreshServices(ctx context.Context) {
	s.aggregation.Refresh(ctx, s.generic.AggregatedDiscoveryGroupManager.WithSource(discovery.AggregatorSource), s.aggregation.updated)
}

// take brings the groups of which a service has a version up to date, and those that were such groups.
func (l *groupLister) take(groups []metav1.APIGroup) {
	next := map[string]metav1.APIGroup{}
	for _, g := range groups {
		next[g.Name] = g
	}
	l.mu.Lock()
	old := l.others
	l.others = next
	l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, stays := next[name]; !stays {
			l.refresh(name)
		}
	}
	for _, g := range groups {
		l.refresh(g.Name)
	}
}

// groupWith lists versions, the preferred one first.
func groupWith(name string, versions []string) metav1.APIGroup {
	g := metav1.APIGroup{Name: name}
	slices.SortFunc(versions, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	for _, v := range versions {
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: schema.GroupVersion{Group: name, Version: v}.String(), Version: v})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}
