package aggregate

import (
	"context"
	"reflect"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// refreshPause is how often services are asked what they have.
	refreshPause = time.Minute
	// retryPause is how soon those are asked again that should have answered.
	retryPause = 2 * time.Second
)

// Discovery is where clients look for the resources of all groups at once.
type Discovery interface {
	AddGroupVersion(group string, v apidiscoveryv2.APIVersionDiscovery)
	SetGroupVersionPriority(gv metav1.GroupVersion, group, version int)
	RemoveGroupVersion(gv metav1.GroupVersion)
}

// known is what a service has said of itself.
type known struct {
	of        *backend
	up        bool // it was available
	resources apidiscoveryv2.APIVersionDiscovery
	openAPI   string // where its OpenAPI document is, with the document's hash
	failed    bool
}

// documents keep what services have said.
type documents struct {
	mu sync.Mutex
	by map[schema.GroupVersion]known
}

// of is what the service has said since it is where it is.
func (d *documents) of(b *backend) (known, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.by[groupVersionOf(b.service)]
	return k, ok && k.of.transport == b.transport
}

// put says whether clients will see a difference.
func (d *documents) put(gv schema.GroupVersion, k known) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[schema.GroupVersion]known{}
	}
	old, there := d.by[gv]
	d.by[gv] = k
	return !there || old.up != k.up || old.openAPI != k.openAPI || !reflect.DeepEqual(old.resources, k.resources)
}

// drop forgets services that are not in the table and gives their versions.
func (d *documents) drop(t *table) (gone []schema.GroupVersion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for gv := range d.by {
		if t.by[gv] == nil {
			gone = append(gone, gv)
			delete(d.by, gv)
		}
	}
	return gone
}

// Refresh keeps what clients discover equal to what the services say, until ctx ends. updated has a message after each Update, unless
// one waits there already.
func (a *Aggregator) Refresh(ctx context.Context, to Discovery, updated <-chan struct{}) {
	due := time.Now()
	for ctx.Err() == nil {
		all := !time.Now().Before(due)
		if all {
			due = time.Now().Add(refreshPause)
		}
		wait := time.Until(due)
		if a.refresh(ctx, to, all) {
			wait = min(wait, retryPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-updated:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refresh asks the services that have changed, those that failed, or all. It says whether one failed that is available.
func (a *Aggregator) refresh(ctx context.Context, to Discovery, all bool) (again bool) {
	t := a.table.Load()
	for _, gv := range a.documents.drop(t) {
		to.RemoveGroupVersion(metav1.GroupVersion(gv))
		a.changed()
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, b := range t.backends() {
		_, up := b.available()
		k, ok := a.documents.of(b)
		if ok && !all && k.up == up && !(up && k.failed) {
			to.SetGroupVersionPriority(metav1.GroupVersion(groupVersionOf(b.service)), int(b.service.Spec.GroupPriorityMinimum), int(b.service.Spec.VersionPriority))
			continue
		}
		asking.Go(func() {
			next := b.learn(ctx, k, up)
			if a.documents.put(groupVersionOf(b.service), next) {
				a.changed()
			}
			b.publish(to, next) // who discovers a resource finds it described
			mu.Lock()
			defer mu.Unlock()
			again = again || up && next.failed
		})
	}
	asking.Wait()
	return again
}

func (a *Aggregator) changed() {
	if a.config.Changed != nil {
		a.config.Changed()
	}
}

// learn asks a service that is available; of one that is not, or does not say, what was known stays, as stale.
func (b *backend) learn(ctx context.Context, old known, up bool) known {
	next := known{of: b, up: up, failed: true, openAPI: old.openAPI, resources: old.resources}
	next.resources.Version = b.service.Spec.Version
	next.resources.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
	if !up {
		return next
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	resources, err := b.resources(ctx)
	if err != nil {
		return next
	}
	next.resources, next.failed = resources, false
	if at, err := b.openAPI(ctx); err == nil { // not every service has one
		next.openAPI = at
	}
	return next
}

func (b *backend) publish(to Discovery, k known) {
	s := b.service
	to.AddGroupVersion(s.Spec.Group, k.resources)
	to.SetGroupVersionPriority(metav1.GroupVersion(groupVersionOf(s)), int(s.Spec.GroupPriorityMinimum), int(s.Spec.VersionPriority))
}
