package kube_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"pgregory.net/rapid"
)

// next gives the next event of a watch, or fails.
func next(t interface{ Fatal(...any) }, w watch.Interface) watch.Event {
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	panic("unreachable")
}

// TestWatchAgainstModel writes at random, and lets watchers with selectors start at revisions that
// were returned on the way: what a watcher has put together from its events must be what a list at
// the end selects, and each event must be one that the model allows.
// Invariant 60.
func TestWatchAgainstModel(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		ns := fmt.Sprintf("m%d", round)
		h.namespace(ns)
		cms := h.client.CoreV1().ConfigMaps(ns)
		type state map[string]string // name -> label of the objects that exist
		begin, err := cms.List(ctx, metav1.ListOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		revisions, states, now := []string{begin.ResourceVersion}, []state{{}}, state{}
		note := func(rv string) {
			revisions, states = append(revisions, rv), append(states, maps.Clone(now))
		}
		for range rapid.IntRange(1, 12).Draw(rt, "writes") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "name")
			label := rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "label")
			o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"l": label}}, Data: map[string]string{"n": fmt.Sprint(len(states))}}
			switch _, exists := now[name]; {
			case exists && rapid.Bool().Draw(rt, "delete"):
				if err := cms.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
					rt.Fatal(err)
				}
				delete(now, name)
				l, err := cms.List(ctx, metav1.ListOptions{})
				if err != nil {
					rt.Fatal(err)
				}
				note(l.ResourceVersion)
			case exists:
				now[name] = label
				got, err := cms.Update(ctx, o, metav1.UpdateOptions{})
				if err != nil {
					rt.Fatal(err)
				}
				note(got.ResourceVersion)
			default:
				now[name] = label
				got, err := cms.Create(ctx, o, metav1.CreateOptions{})
				if err != nil {
					rt.Fatal(err)
				}
				note(got.ResourceVersion)
			}
		}
		// A last object that every selection has tells a watcher that it has seen all.
		if _, err := cms.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "end", Labels: map[string]string{"l": "x"}}}, metav1.CreateOptions{}); err != nil {
			rt.Fatal(err)
		}
		for range 2 {
			i := rapid.IntRange(0, len(revisions)-1).Draw(rt, "start")
			rv := revisions[i]
			for _, selector := range []string{"", "l=x"} {
				seen := state{}
				for n, l := range states[i] {
					if selector == "" || l == "x" {
						seen[n] = l
					}
				}
				w, err := cms.Watch(ctx, metav1.ListOptions{ResourceVersion: rv, LabelSelector: selector})
				if err != nil {
					rt.Fatal(err)
				}
				for {
					e := next(rt, w)
					m, err := meta.Accessor(e.Object)
					if err != nil {
						rt.Fatalf("event %v: %v", e, err)
					}
					_, had := seen[m.GetName()]
					if had == (e.Type == watch.Added) {
						rt.Fatalf("%s of %s, which the watcher had: %v", e.Type, m.GetName(), had)
					}
					if e.Type == watch.Deleted {
						delete(seen, m.GetName())
						continue
					}
					if m.GetName() == "end" {
						break
					}
					seen[m.GetName()] = m.GetLabels()["l"]
				}
				w.Stop()
				want := state{}
				for n, l := range now {
					if selector == "" || l == "x" {
						want[n] = l
					}
				}
				if !maps.Equal(seen, want) {
					rt.Fatalf("from revision %s with %q: %v, want %v", rv, selector, seen, want)
				}
			}
		}
	})
}

func TestWire4WatchTooOldIs410(t *testing.T) {
	h := start(t)
	h.store.Keep = 3
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	first, err := cms.Create(ctx, configMap("first"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := cms.Create(ctx, configMap(fmt.Sprintf("c%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := cms.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err == nil {
		e := next(t, w)
		err = apierrors.FromObject(e.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Fatalf("%v", err)
	}
}

func TestWire4WatchListEndsWithBookmark(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	if _, err := cms.Create(ctx, configMap("one"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	yes := true
	w, err := cms.Watch(ctx, metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Added {
		t.Fatalf("%+v", e)
	}
	e := next(t, w)
	if cm, ok := e.Object.(*corev1.ConfigMap); !ok || e.Type != watch.Bookmark || cm.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Fatalf("%+v", e)
	}
}

func TestWire4BookmarkBeforeTheEnd(t *testing.T) {
	h := start(t)
	seconds := int64(3)
	l, err := h.client.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := h.client.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{ResourceVersion: l.ResourceVersion, TimeoutSeconds: &seconds, AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Bookmark {
		t.Fatalf("%+v", e)
	}
	if e, ok := <-w.ResultChan(); ok {
		t.Fatalf("the watch went on with %s: %+v", e.Type, e.Object)
	}
}

func TestInformersSync(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := h.client.CoreV1().ConfigMaps("default").Create(ctx, configMap("one"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f := informers.NewSharedInformerFactory(h.client, 0)
	l := f.Core().V1().ConfigMaps().Lister()
	f.Start(ctx.Done())
	for typ, ok := range f.WaitForCacheSync(ctx.Done()) {
		if !ok {
			t.Fatalf("%v did not sync", typ)
		}
	}
	if cm, err := l.ConfigMaps("default").Get("one"); err != nil || cm.Data["a"] != "1" {
		t.Fatalf("%+v, %v", cm, err)
	}
	cancel()
	f.Shutdown()
}

// TestWire3PagesShowOneRevision: Invariant 61.
func TestWire3PagesShowOneRevision(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	for i := range 7 {
		if _, err := cms.Create(ctx, configMap(fmt.Sprintf("c%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := cms.List(ctx, metav1.ListOptions{Limit: 3})
	if err != nil || len(page.Items) != 3 || page.RemainingItemCount == nil || *page.RemainingItemCount != 4 {
		t.Fatalf("%+v, %v", page.ListMeta, err)
	}
	// What happens between two pages does not show: an object goes, one changes, one comes.
	if err := cms.Delete(ctx, "c4", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cms.Create(ctx, configMap("c55"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed := configMap("c5")
	changed.Data["a"] = "new"
	if _, err := cms.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	rv := page.ResourceVersion
	token := page.Continue
	for token != "" {
		p, err := cms.List(ctx, metav1.ListOptions{Limit: 3, Continue: token})
		if err != nil || p.ResourceVersion != rv {
			t.Fatalf("%+v, %v", p.ListMeta, err)
		}
		for _, c := range p.Items {
			names = append(names, c.Name+c.Data["a"])
		}
		token = p.Continue
	}
	if got := strings.Join(names, " "); got != "c31 c41 c51 c61" {
		t.Fatalf("the later pages have %s", got)
	}
}

func TestWire3ExpiredTokenGoesOnWithTheNewestState(t *testing.T) {
	h := start(t)
	h.store.Keep = 2
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	for i := range 4 {
		if _, err := cms.Create(ctx, configMap(fmt.Sprintf("c%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := cms.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := cms.Create(ctx, configMap(fmt.Sprintf("d%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = cms.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	status, ok := err.(apierrors.APIStatus)
	if !ok || !apierrors.IsResourceExpired(err) || status.Status().Continue == "" {
		t.Fatalf("%v", err)
	}
	rest, err := cms.List(ctx, metav1.ListOptions{Continue: status.Status().Continue})
	if err != nil || len(rest.Items) != 6 || rest.Items[0].Name != "c2" {
		t.Fatalf("%d items, %v", len(rest.Items), err)
	}
}

func TestWire3FutureRevisionTimesOut(t *testing.T) {
	h := start(t)
	// Without retries, which the reply's Retry-After asks of clients.
	err := h.client.CoreV1().RESTClient().Get().Namespace("default").Resource("configmaps").Param("resourceVersion", "999999").
		MaxRetries(0).Do(context.Background()).Error()
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Fatalf("%v", err)
	}
}
