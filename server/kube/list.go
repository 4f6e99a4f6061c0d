package kube

import (
	"cmp"
	"context"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/peapod-sh/peapod/api"
)

// GetList fills list with the objects that the options select, in order of namespace and name.
func (s *objectStorage) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if opts.Recursive && !strings.HasSuffix(key, "/") {
		key += "/"
	}
	exact, from, err := storage.ValidateListOptions(key, s.APIObjectVersioner, opts)
	if err != nil {
		return err
	}
	snap, err := s.snapshot(ctx, uint64(exact), from, key, opts)
	if err != nil {
		return err
	}
	p := page{s: s, scope: s.scope(key, opts.Recursive), pred: opts.Predicate, all: opts.Predicate.Empty(), snap: snap}
	if err := p.fill(list, from, key); err != nil {
		return err
	}
	cont, remaining, err := storage.PrepareContinueToken(p.last, key, int64(snap.Revision()), p.rest+opts.Predicate.Limit, p.more, opts)
	if err != nil {
		return err
	}
	if p.uncounted {
		remaining = nil
	}
	return s.UpdateList(list, snap.Revision(), cont, remaining)
}

// snapshot finds the state that a list must show: at the exact revision if there is one, else one
// that is new enough. The message for a state that is gone carries a token with which a client
// can go on from the same key at the newest revision.
func (s *objectStorage) snapshot(ctx context.Context, exact uint64, from, key string, opts storage.ListOptions) (Snapshot, error) {
	if exact > 0 {
		if err := s.wait(ctx, exact); err != nil {
			return nil, err
		}
		snap, err := rewind(s.store, s.gr, exact)
		if err == nil {
			return snap, nil
		}
		gone := apierrors.NewResourceExpired("the state of that revision is gone: list again without resourceVersion, or use the continue token of this message to go on with the newest state")
		if opts.Predicate.Continue != "" {
			gone.ErrStatus.ListMeta.Continue, _ = storage.EncodeContinue(from, key, -1)
		}
		return nil, gone
	}
	if err := s.ready(ctx, opts.ResourceVersion); err != nil {
		return nil, err
	}
	return s.store.Snapshot(s.gr), nil
}

// page collects one page of a list.
type page struct {
	s     *objectStorage
	scope scope
	pred  storage.SelectionPredicate
	all   bool // no selector
	snap  Snapshot

	last      string // key of the last object looked at for this page
	more      bool   // there is something after the page
	rest      int64  // how much, if counted
	uncounted bool
}

func (p *page) fill(list runtime.Object, from, key string) error {
	ns, name := p.s.splitKey(key)
	if from != "" {
		ns, name = p.s.splitKey(from)
	} else if p.scope.name == "" {
		name = ""
	}
	if records, ok := list.(*podRecords); ok {
		if snap, ok := p.snap.(recordSnapshot); ok {
			return p.fillRecords(records, snap, ns, name)
		}
	}
	ptr, err := meta.GetItemsPtr(list)
	if err != nil {
		return err
	}
	items := reflect.ValueOf(ptr).Elem()
	items.Set(reflect.MakeSlice(items.Type(), 0, p.sizeHint(from)))
	p.snap.Ascend(ns, name, func(ns, name string, stored runtime.Object) bool {
		var o runtime.Object
		var unread error
		add, more, refused := p.visit(ns, name, items.Len(), func() runtime.Object {
			if o, unread = p.s.documents.read(stored); unread != nil {
				return p.s.kind.New()
			}
			return o
		})
		if add && o == nil && unread == nil {
			o, unread = p.s.documents.read(stored)
		}
		if err = cmp.Or(unread, refused); err != nil {
			return false
		}
		if add {
			appendItem(items, o)
		}
		return more
	})
	return err
}

// fillRecords makes typed pods only for a selector to look at.
func (p *page) fillRecords(list *podRecords, snap recordSnapshot, ns, name string) (err error) {
	snap.AscendPods(ns, name, func(r *api.PodRecord) bool {
		var add, more bool
		if add, more, err = p.visit(r.Namespace(), r.Name, len(list.records), func() runtime.Object { return r.Pod() }); add {
			list.records = append(list.records, r)
		}
		return more
	})
	return err
}

// visit decides whether the next object belongs to the page, which has so many by now, and whether to go on.
func (p *page) visit(ns, name string, have int, object func() runtime.Object) (add, more bool, err error) {
	if p.scope.past(ns, name) {
		return false, false, nil
	}
	if !p.scope.has(ns, name) {
		return false, true, nil
	}
	if p.more || p.pred.Limit > 0 && int64(have) >= p.pred.Limit {
		return false, p.count(), nil
	}
	p.last = p.s.joinKey(ns, name)
	if p.all {
		return true, true, nil
	}
	add, err = p.pred.Matches(object())
	return add, err == nil, err
}

// count notes an object beyond the page, and says whether to go on counting. Pods are made from
// records as they are yielded, which is too much work for a number that clients may not rely on.
func (p *page) count() bool {
	p.more = true
	p.rest++
	if p.all && p.s.gr.Resource != "pods" && p.rest < countedRemainderMax {
		return true
	}
	p.uncounted = true
	return false
}

func (p *page) sizeHint(from string) int {
	n := p.snap.Len()
	if !p.all || p.scope.name != "" || p.scope.namespace != "" || from != "" {
		n = 0
	}
	if p.pred.Limit > 0 {
		n = min(n, int(p.pred.Limit))
	}
	return n
}
