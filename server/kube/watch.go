package kube

import (
	"context"
	"errors"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/peapod-sh/peapod/api"
)

// watcher is one client's watch: a cursor on the changes, a selection, and who takes the events.
type watcher struct {
	s      *objectStorage
	scope  scope
	pred   storage.SelectionPredicate
	all    bool // no selector
	ctx    context.Context
	cancel context.CancelFunc
	out    chan watch.Event // for apiserver's handler
	to     taker            // out, or who runs the watcher itself

	cursor  Cursor
	initial Snapshot // objects to send first; nil if there are none
	endMark bool     // a bookmark ends the initial objects
	last    bool     // the bookmark now due is the last one

	waiting context.Context // until the next bookmark is due; nil before it is known when
	waited  context.CancelFunc
}

var _ watch.Interface = (*watcher)(nil)

// taker takes a watch's events. What it answers is false when there is nobody any more to give them to.
type taker interface {
	// change takes a change; the event is of the object after it, or, if it is deleted, before it.
	change(t watch.EventType, c *api.Change) bool
	object(t watch.EventType, o runtime.Object) bool
	// flush says that no more is there for now.
	flush() bool
}

// Stop ends the watch; the channel is closed soon after.
func (w *watcher) Stop()                          { w.cancel() }
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

// Watch starts a watch. Without a revision, or with "0", it begins with the objects that exist.
func (s *objectStorage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	if opts.Recursive && !strings.HasSuffix(key, "/") {
		key += "/"
	}
	if err := s.ready(ctx, opts.ResourceVersion); err != nil {
		return nil, err
	}
	after, err := s.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	w := &watcher{s: s, scope: s.scope(key, opts.Recursive), pred: opts.Predicate, all: opts.Predicate.Empty()}
	initial := after == 0
	if opts.SendInitialEvents != nil {
		initial = *opts.SendInitialEvents
		w.endMark = initial && opts.Predicate.AllowWatchBookmarks
	}
	if err := w.open(initial, after); err != nil {
		return nil, err
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if ctx.Value(plainWatch{}) == nil {
		w.out = make(chan watch.Event, watchBuffer)
		w.to = channel{w}
		go func() {
			defer close(w.out)
			w.run()
		}()
	}
	return w, nil
}

// open takes the position: after the snapshot that is sent first, after a revision, or now.
func (w *watcher) open(initial bool, after uint64) error {
	if !initial && after > 0 {
		c, err := w.s.store.Watch(w.s.gr, after)
		if errors.Is(err, ErrTooOld) {
			return apierrors.NewResourceExpired("too old resource version: list again")
		}
		w.cursor = c
		return err
	}
	for range writeAttemptsMax { // the ring may turn over between the two calls
		snap := w.s.store.Snapshot(w.s.gr)
		c, err := w.s.store.Watch(w.s.gr, snap.Revision())
		if errors.Is(err, ErrTooOld) {
			continue
		}
		if err != nil {
			return err
		}
		w.cursor = c
		if initial {
			w.initial = snap
		}
		return nil
	}
	return apierrors.NewTooManyRequests("objects change too fast to begin a watch", 1)
}

func (w *watcher) run() {
	defer w.cancel()
	defer w.cursor.Close()
	if w.initial != nil && !w.sendInitial() {
		return
	}
	flowcontrol.WatchInitialized(w.ctx)
	idle(w.ctx)
	for w.to.flush() && w.step() {
	}
	w.to.flush()
}

func (w *watcher) sendInitial() bool {
	snap := w.initial
	w.initial = nil // it need not outlive this function
	ok := true
	snap.Ascend(w.scope.namespace, w.scope.name, func(ns, name string, stored runtime.Object) bool {
		if w.scope.past(ns, name) {
			return false
		}
		if !w.scope.has(ns, name) {
			return true
		}
		o, err := w.s.documents.read(stored)
		if err != nil {
			ok = w.failed(err)
		} else if w.match(o) {
			ok = w.to.object(watch.Added, shallow(o))
		}
		return ok
	})
	return ok && (!w.endMark || w.bookmark(snap.Revision(), true))
}

// step waits for a batch of changes and delivers it, or sends a bookmark when one is due.
func (w *watcher) step() bool {
	if w.waiting == nil {
		w.waiting, w.waited = context.WithDeadline(w.ctx, w.bookmarkDue())
	}
	revision := w.s.store.Revision() // whatever Next has not given when it times out is newer
	batch, err := w.cursor.Next(w.waiting)
	switch {
	case err == nil:
		for _, c := range batch {
			if !w.deliver(c) {
				return false
			}
		}
		return true
	case w.ctx.Err() != nil:
		return false
	case errors.Is(err, context.DeadlineExceeded):
		w.waited()
		w.waiting = nil
		return !w.pred.AllowWatchBookmarks || w.bookmark(revision, false)
	case errors.Is(err, ErrTooOld):
		status := apierrors.NewResourceExpired("the watch fell behind: list again").Status()
		w.to.object(watch.Error, &status)
	default:
		return w.failed(err)
	}
	return false
}

// failed ends the watch with the reason.
func (w *watcher) failed(err error) bool {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	w.to.object(watch.Error, &status)
	return false
}

// bookmarkDue is a minute from now, or shortly before the watch ends if that comes first.
func (w *watcher) bookmarkDue() time.Time {
	now := time.Now()
	due := now.Add(bookmarkInterval)
	if end, ok := w.ctx.Deadline(); ok {
		if last := end.Add(-bookmarkLead); !w.last && last.After(now) && last.Before(due) {
			w.last = true
			return last
		}
	}
	return due
}

func (w *watcher) bookmark(revision uint64, endOfInitial bool) bool {
	o := w.s.kind.New()
	setRevision(o, revision)
	if endOfInitial && storage.AnnotateInitialEventsEndBookmark(o) != nil {
		return false
	}
	return w.to.object(watch.Bookmark, o)
}

// channel gives events to the goroutine of apiserver's handler.
type channel struct{ *watcher }

func (w channel) change(t watch.EventType, c *api.Change) bool {
	e := &event{change: c}
	if w.s.documents != nil {
		e.of = w.s
	}
	return w.object(t, e)
}

// flush has nothing to do: the handler sends what it has written when the channel is empty.
func (w channel) flush() bool { return true }

func (w channel) object(t watch.EventType, o runtime.Object) bool {
	e := watch.Event{Type: t, Object: o}
	select {
	case w.out <- e:
		return true
	default:
		return w.sendSlowly(e)
	}
}

// sendSlowly waits for a reader that is behind. One that does not read at all is cut off, because what waits for it keeps old
// objects in memory; it can list again.
func (w channel) sendSlowly(e watch.Event) bool {
	patience := time.NewTimer(w.s.slow)
	defer patience.Stop()
	select {
	case w.out <- e:
		return true
	case <-patience.C:
		cutOff(w.ctx)
	case <-w.ctx.Done():
	}
	return false
}

func (w *watcher) match(o runtime.Object) bool {
	if w.all {
		return true
	}
	ok, err := w.pred.Matches(o)
	return ok && err == nil
}

// deliver sends what the change means to this selection: an object that begins to match is added,
// one that ceases to is deleted.
func (w *watcher) deliver(c *api.Change) bool {
	if !w.scope.has(c.Namespace, c.Name) {
		return true
	}
	var before, after runtime.Object
	err := w.s.readable(c)
	if err == nil && !w.all {
		var unread [2]error
		before, unread[0] = w.s.before(c)
		after, unread[1] = w.s.after(c)
		err = errors.Join(unread[:]...)
	}
	if err != nil {
		return w.failed(err)
	}
	was := (c.Old != nil || c.OldPod != nil) && (w.all || w.match(before))
	is := !c.Deleted() && (w.all || w.match(after))
	switch {
	case is && was:
		return w.to.change(watch.Modified, c)
	case is:
		return w.to.change(watch.Added, c)
	case was && c.Deleted():
		return w.to.change(watch.Deleted, c)
	case was: // with a selector, so before is there
		// It left the selection, which shows its last state in the selection with the new revision.
		return w.to.object(watch.Deleted, withRevision(before, c.Revision))
	}
	return true
}
