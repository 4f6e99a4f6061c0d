package aggregate_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// listed is what clients discover.
type listed struct {
	mu sync.Mutex
	by map[string]apidiscoveryv2.APIVersionDiscovery
}

func (l *listed) AddGroupVersion(group string, v apidiscoveryv2.APIVersionDiscovery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[group+"/"+v.Version] = v
}

func (l *listed) RemoveGroupVersion(gv metav1.GroupVersion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.by, gv.String())
}

func (l *listed) SetGroupVersionPriority(metav1.GroupVersion, int, int) {}

// says is "ABSENT", or how fresh the version is and its first resource.
func (l *listed) says(gv string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.by[gv]
	if !ok {
		return "ABSENT"
	}
	if len(v.Resources) == 0 {
		return string(v.Freshness)
	}
	return fmt.Sprintf("%s %s %s", v.Freshness, v.Resources[0].Resource, v.Resources[0].ResponseKind.Kind)
}

const (
	modernGroups = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"shop.example"},"versions":[{"version":"v1",
"resources":[{"resource":"orders","responseKind":{"group":"shop.example","version":"v1","kind":"Order"},"scope":"Namespaced","verbs":["get"]}]}]}]}`
	legacyList = `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"shop.example/v1","resources":[{"name":"orders","singularName":"","namespaced":true,"kind":"OldOrder","verbs":["get"]}]}`
	v3Index    = `{"paths":{"apis/shop.example/v1":{"serverRelativeURL":"/openapi/v3/apis/shop.example/v1?hash=ABC"}}}`
)

// shopkeeper answers about itself, as it is told to.
func shopkeeper(mode *atomic.Value) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := mode.Load().(string)
		switch {
		case m == "garbage":
			fmt.Fprint(w, "<html>")
		case r.URL.Path == "/apis" && m == "modern":
			w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
			fmt.Fprint(w, modernGroups)
		case r.URL.Path == "/apis/shop.example/v1":
			fmt.Fprint(w, legacyList)
		case r.URL.Path == "/openapi/v3":
			fmt.Fprint(w, v3Index)
		case r.URL.Path == "/openapi/v3/apis/shop.example/v1" && r.URL.Query().Get("hash") == "ABC":
			fmt.Fprint(w, `{"openapi":"3.0.0","info":{"title":"Shop","version":"1"},"paths":{}}`)
		case r.URL.Path == "/openapi/v2":
			fmt.Fprint(w, `{"swagger":"2.0","info":{"title":"Shop","version":"1"},"paths":{"/apis/shop.example/v1/orders":{},"/healthz":{}},"definitions":{}}`)
		default:
			http.NotFound(w, r)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// TestDiscovery: clients find what the service says, by whichever way it says it, and go on finding it while it is away.
func TestDiscovery(t *testing.T) {
	var mode atomic.Value
	mode.Store("modern")
	c := start(t, time.Minute, shopkeeper(&mode))
	found, updated := &listed{by: map[string]apidiscoveryv2.APIVersionDiscovery{}}, make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Refresh(ctx, found, updated) }()
	defer func() { cancel(); <-ended }()
	set := func(all ...*apiregistrationv1.APIService) {
		c.Update(all)
		updated <- struct{}{}
	}
	becomes := func(want string) {
		t.Helper()
		eventually(t, "discovery says "+want+", not "+found.says("shop.example/v1"), func() bool { return found.says("shop.example/v1") == want })
	}
	becomes("Current orders Order")
	parts := c.Parts()
	if len(parts) != 1 || parts[0].Path != "apis/shop.example/v1" {
		t.Fatalf("OpenAPI documents: %+v", parts)
	}
	if doc, err := parts[0].V3(); err != nil || doc.Info.Title != "Shop" {
		t.Errorf("%+v %v", doc, err)
	}
	if all := c.V2(); len(all) != 1 || len(all[0].Paths.Paths) != 1 {
		t.Errorf("OpenAPI of version 2: %+v", all)
	}
	set(available(c.service, apiregistrationv1.ConditionFalse, "MissingEndpoints"))
	becomes("Stale orders Order")
	if parts := c.Parts(); len(parts) != 0 {
		t.Errorf("documents of a service that is away: %+v", parts)
	}
	mode.Store("legacy")
	set(available(c.service, apiregistrationv1.ConditionTrue, "Passed"))
	becomes("Current orders OldOrder")
	mode.Store("garbage")
	other := c.service.DeepCopy()
	other.UID = "another"
	set(available(other, apiregistrationv1.ConditionTrue, "Passed"))
	becomes("Stale orders OldOrder")
	mode.Store("modern")
	becomes("Current orders Order") // it is asked again
	set()
	becomes("ABSENT")
}

// TestAvailable says what the service's answer to a question means.
func TestAvailable(t *testing.T) {
	for _, c := range []struct {
		what   string
		answer http.HandlerFunc
		reason string
	}{
		{"answers", func(http.ResponseWriter, *http.Request) {}, "Passed"},
		{"refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "FailedDiscoveryCheck"},
		{"redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "FailedDiscoveryCheck"},
	} {
		s := start(t, time.Minute, c.answer)
		if got := s.Available(t.Context(), s.service); got.Reason != c.reason {
			t.Errorf("one that %s: %+v", c.what, got)
		}
	}
	hangs := start(t, time.Minute, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got := hangs.Available(ctx, hangs.service); got.Status != apiregistrationv1.ConditionFalse {
		t.Errorf("one that hangs: %+v", got)
	}
}
