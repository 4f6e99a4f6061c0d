package aggregate

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

// ServiceWay reaches what is behind services.
type ServiceWay interface {
	// Endpoint picks the address, host:port, of something ready behind a service's port. An error says what is missing.
	Endpoint(namespace, service string, port int32) (string, error)
	// Dial connects to such an address.
	Dial(ctx context.Context, namespace, service, address string) (net.Conn, error)
}

// Config is what an Aggregator is made of.
type Config struct {
	Services ServiceWay
	// Certificate proves to services that the headers which name the user are this server's; nil proves nothing.
	Certificate func() (*tls.Certificate, error)
	// Codecs encode errors and the lists of groups for clients.
	Codecs runtime.NegotiatedSerializer
	// Changed is called when what the services say of themselves has changed; it may be nil.
	Changed func()
}

// Aggregator knows the services that answer for versions of groups.
type Aggregator struct {
	config    Config
	table     atomic.Pointer[table]
	documents documents

	mu sync.Mutex // held while the table is made anew
}

// table is all services at one time.
type table struct {
	by map[schema.GroupVersion]*backend
	// groups have all versions of the groups of which a service has one, those with the highest priority first.
	groups map[string][]*apiregistrationv1.APIService
}

// New makes an Aggregator that knows no services.
func New(c Config) *Aggregator {
	a := &Aggregator{config: c}
	a.table.Store(&table{})
	return a
}

// Update takes in the APIServices that there are, local ones too. The objects must not be changed any more.
func (a *Aggregator) Update(all []*apiregistrationv1.APIService) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.table.Load()
	next := &table{by: map[schema.GroupVersion]*backend{}, groups: map[string][]*apiregistrationv1.APIService{}}
	for _, s := range all {
		if s.Spec.Service == nil {
			continue
		}
		gv := groupVersionOf(s)
		next.groups[gv.Group] = nil
		if b := old.by[gv]; b != nil && sameWay(b.service, s) {
			next.by[gv] = &backend{service: s, transport: b.transport, fault: b.fault}
		} else {
			next.by[gv] = a.newBackend(s)
		}
	}
	for _, s := range all {
		if list, ok := next.groups[s.Spec.Group]; ok {
			next.groups[s.Spec.Group] = append(list, s)
		}
	}
	for _, list := range next.groups {
		slices.SortFunc(list, byVersion)
	}
	a.table.Store(next)
	for gv, b := range old.by {
		if n := next.by[gv]; n == nil || n.transport != b.transport {
			b.close()
		}
	}
}

// byVersion puts the preferred version first.
func byVersion(a, b *apiregistrationv1.APIService) int {
	return cmp.Or(cmp.Compare(b.Spec.VersionPriority, a.Spec.VersionPriority), version.CompareKubeAwareVersionStrings(b.Spec.Version, a.Spec.Version))
}

// backends are the services in the order of their names.
func (t *table) backends() []*backend {
	return slices.SortedFunc(maps.Values(t.by), func(a, b *backend) int { return strings.Compare(a.service.Name, b.service.Name) })
}

// Groups are the groups of which a service has a version, the one with the highest priority first.
func (a *Aggregator) Groups() (out []metav1.APIGroup) {
	t := a.table.Load()
	var all []*apiregistrationv1.APIService
	for _, list := range t.groups {
		all = append(all, list...)
	}
	for _, list := range helper.SortedByGroupAndVersion(all) {
		out = append(out, apiGroup(list))
	}
	return out
}

func apiGroup(list []*apiregistrationv1.APIService) metav1.APIGroup {
	g := metav1.APIGroup{Name: list[0].Spec.Group}
	for _, s := range list {
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: groupVersionOf(s).String(), Version: s.Spec.Version})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}

// Wrap sends what services answer for to them, and all else to next.
func (a *Aggregator) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := a.table.Load()
		path, ok := strings.CutPrefix(r.URL.Path, "/apis/")
		if !ok || len(t.by) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		group, rest, _ := strings.Cut(path, "/")
		v, _, _ := strings.Cut(rest, "/")
		if v == "" {
			a.serveGroup(w, r, t.groups[group], next)
			return
		}
		if b := t.by[schema.GroupVersion{Group: group, Version: v}]; b != nil {
			a.serve(w, r, b)
			return
		}
		next.ServeHTTP(w, r)
	})
}
