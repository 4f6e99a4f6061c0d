package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// emptyTime is how long one service may take to delete what it has of a namespace. It is asked again for the rest.
	emptyTime = 20 * time.Second
	// emptyPage is how many objects are listed at once.
	emptyPage = 500
)

// Left is what services have of a namespace, as far as they say.
type Left struct {
	// Unknown says why a service does not tell of its resources.
	Unknown map[schema.GroupVersion]error
	// Faults are why objects could not be deleted, or not be counted.
	Faults     []error
	Objects    map[schema.GroupResource]int
	Finalizers map[string]int // how many objects each holds

	mu sync.Mutex // held to write, while services are asked
}

// Nothing says that the namespace is empty as far as services go.
func (l *Left) Nothing() bool { return len(l.Unknown)+len(l.Faults)+len(l.Objects) == 0 }

func (l *Left) unknown(gv schema.GroupVersion, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Unknown[gv] = why
}

// note takes in what is left of a resource. Another version of it has the same objects.
func (l *Left) note(gr schema.GroupResource, left held, fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fault != nil {
		l.Faults = append(l.Faults, fmt.Errorf("%s: %w", gr, fault))
	}
	if left.count == 0 {
		return
	}
	l.Objects[gr] = max(l.Objects[gr], left.count)
	for _, o := range left.first {
		for _, f := range o.Finalizers {
			l.Finalizers[f]++
		}
	}
}

// Any says whether a service answers for any version of a group.
func (a *Aggregator) Any() bool { return len(a.table.Load().by) > 0 }

// Empty has all services delete what they have of a namespace, and says what is left. A service that is in the namespace itself, and
// gone with its pods, is not waited for: nobody would ever answer.
func (a *Aggregator) Empty(ctx context.Context, namespace string) *Left {
	left := &Left{Unknown: map[schema.GroupVersion]error{}, Objects: map[schema.GroupResource]int{}, Finalizers: map[string]int{}}
	var asking sync.WaitGroup
	for _, b := range a.table.Load().backends() {
		why, up := b.available()
		switch {
		case up:
			asking.Go(func() { a.emptyOne(ctx, b, namespace, left) })
		case b.service.Spec.Service.Namespace != namespace:
			gv := groupVersionOf(b.service)
			left.unknown(gv, fmt.Errorf("stale GroupVersion discovery: %s (%s)", gv, why))
		}
	}
	asking.Wait()
	return left
}

func (a *Aggregator) emptyOne(ctx context.Context, b *backend, namespace string, left *Left) {
	ctx, cancel := context.WithTimeout(ctx, emptyTime)
	defer cancel()
	gv := groupVersionOf(b.service)
	k, ok := a.documents.of(b)
	if !ok || k.failed {
		var err error
		if k.resources, err = b.resources(ctx); err != nil {
			left.unknown(gv, err)
			return
		}
	}
	for _, r := range k.resources.Resources {
		can := func(verb string) bool { return slices.Contains(r.Verbs, verb) }
		if r.Scope != apidiscoveryv2.ScopeNamespace || !can("delete") || !can("list") {
			continue
		}
		still, err := b.emptyResource(ctx, "/"+b.path()+"/namespaces/"+namespace+"/"+r.Resource, can("deletecollection"))
		left.note(gv.WithResource(r.Resource).GroupResource(), still, err)
	}
}

// held is what a service lists of a namespace.
type held struct {
	count int
	first []metav1.ObjectMeta
}

// emptyResource deletes all objects below a path, at once if the service can do that, and gives those that stay.
func (b *backend) emptyResource(ctx context.Context, path string, atOnce bool) (held, error) {
	now, err := b.list(ctx, path)
	if err != nil || now.count == 0 {
		return now, err
	}
	if atOnce {
		err = b.remove(ctx, path)
	} else {
		for _, o := range now.first {
			err = errors.Join(err, b.remove(ctx, path+"/"+o.Name))
		}
	}
	if err != nil {
		return now, err
	}
	return b.list(ctx, path)
}

func (b *backend) list(ctx context.Context, path string) (held, error) {
	body, _, err := b.get(ctx, path+"?limit="+strconv.Itoa(emptyPage), runtime.ContentTypeJSON)
	if err != nil {
		return held{}, err
	}
	var page struct {
		Metadata metav1.ListMeta                `json:"metadata"`
		Items    []metav1.PartialObjectMetadata `json:"items"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return held{}, fmt.Errorf("reading the objects below %s: %w", path, err)
	}
	out := held{count: len(page.Items)}
	if more := page.Metadata.RemainingItemCount; more != nil {
		out.count += int(*more)
	}
	for i := range page.Items {
		out.first = append(out.first, page.Items[i].ObjectMeta)
	}
	return out, nil
}

// remove deletes what is at a path. Somebody else may have done it.
func (b *backend) remove(ctx context.Context, path string) error {
	_, _, err := b.ask(ctx, http.MethodDelete, path+"?propagationPolicy="+string(metav1.DeletePropagationBackground), runtime.ContentTypeJSON)
	var bad badStatus
	if errors.As(err, &bad) && bad.code == http.StatusNotFound {
		return nil
	}
	return err
}
