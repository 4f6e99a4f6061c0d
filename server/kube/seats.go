package kube

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"

	"github.com/peapod-sh/peapod/api/ops"
)

// seats bound how many requests are worked on at a time to about what the processors can do, and give each that is free to the user who has the
// fewest, by turns among equals: what waits for a processor in the runtime's own queue is served in the order of its coming, so a user with
// many requests there would make everybody wait for all of them, and raft too.
//
// A request that waits for something else than a processor gives its seat up (idle), and is not made to wait for another one: it has
// little left to do, and might hold what somebody with a seat waits for.
type seats struct {
	mu      sync.Mutex
	free    int
	taken   map[*seat]struct{}
	waiting map[string][]*seat // by user, in the order of coming; none is empty
	turns   []string           // the users of waiting, who is next first among those who have as many seats
	having  map[string]int     // seats, of each user who has some
	looking *time.Timer        // runs while somebody waits
}

// seat is one request's.
type seat struct {
	of     *seats
	user   string
	called chan struct{} // closed when the wait for it is over; nil if there is none; under the lock of seats

	seated    atomic.Bool  // it is in taken
	since     time.Time    // when it was taken
	blocked   atomic.Int64 // since when, after that, it reads its client's body or writes the answer; 0 if it does not
	confirmed bool         // the local state has all that was acknowledged before the request came
}

func newSeats(n int) *seats {
	s := &seats{free: n, taken: map[*seat]struct{}{}, waiting: map[string][]*seat{}, having: map[string]int{}}
	s.looking = time.AfterFunc(time.Hour, s.look)
	s.looking.Stop()
	return s
}

// take waits for a seat. An error is that of ctx.
func (s *seats) take(ctx context.Context, user string) (*seat, error) {
	own := &seat{of: s, user: user}
	s.mu.Lock()
	if s.free > 0 { // and so nobody waits
		s.sit(own)
		s.mu.Unlock()
		return own, nil
	}
	if len(s.waiting) == 0 {
		s.looking.Reset(seatPatience)
	}
	if len(s.waiting[user]) == 0 {
		s.turns = append(s.turns, user)
	}
	called := make(chan struct{})
	own.called = called
	s.waiting[user] = append(s.waiting[user], own)
	s.mu.Unlock()
	return own, own.await(ctx, called)
}

func (own *seat) await(ctx context.Context, called <-chan struct{}) error {
	select {
	case <-called:
		return nil
	case <-ctx.Done():
		own.leave()
		return ctx.Err()
	}
}

// pass lets another user have a seat that was held for its time, and waits to have one again before its user's other requests do. It is called
// between two writes of an answer, where nothing is held that somebody with a seat could wait for.
func (own *seat) pass(ctx context.Context) {
	if !own.seated.Load() || time.Since(own.since) < seatTurn { // as every event of a watch, for which nobody's lock is taken
		return
	}
	s := own.of
	s.mu.Lock()
	others := len(s.waiting)
	if s.waiting[own.user] != nil {
		others--
	}
	if _, ok := s.taken[own]; !ok || others == 0 {
		s.mu.Unlock()
		return
	}
	called := make(chan struct{})
	own.called = called
	s.waiting[own.user] = slices.Insert(s.waiting[own.user], 0, own)
	s.turns = append(slices.DeleteFunc(s.turns, func(u string) bool { return u == own.user }), own.user)
	s.stand(own)
	s.mu.Unlock()
	_ = own.await(ctx, called) // whose request ends, writes its end without a seat
}

// sit is called with the lock.
func (s *seats) sit(own *seat) {
	s.free--
	s.having[own.user]++
	own.since = time.Now()
	s.taken[own] = struct{}{}
	own.seated.Store(true)
}

// leave gives a seat up for good, if it has not been already, and ends a wait for it: what is written meanwhile needs none to go on.
func (own *seat) leave() {
	own.of.mu.Lock()
	defer own.of.mu.Unlock()
	own.call()
	own.of.stand(own)
}

// call ends a wait. It is called with the lock.
func (own *seat) call() {
	if own.called != nil {
		close(own.called)
		own.called = nil
	}
}

// stand is called with the lock. It gives what is free to who waits.
func (s *seats) stand(own *seat) {
	if _, ok := s.taken[own]; !ok {
		return
	}
	delete(s.taken, own)
	own.seated.Store(false)
	s.free++
	if s.having[own.user]--; s.having[own.user] == 0 {
		delete(s.having, own.user)
	}
	for s.free > 0 && len(s.turns) > 0 {
		if next := s.next(); next.called != nil { // it has not left
			s.sit(next)
			next.call()
		}
	}
}

// next is of the first in turn of those users who have the fewest seats.
func (s *seats) next() *seat {
	first := 0
	for i, u := range s.turns {
		if s.having[u] < s.having[s.turns[first]] {
			first = i
		}
	}
	user := s.turns[first]
	s.turns = slices.Delete(s.turns, first, first+1)
	line := s.waiting[user]
	if len(line) > 1 {
		s.waiting[user] = line[1:]
		s.turns = append(s.turns, user)
	} else {
		delete(s.waiting, user)
	}
	return line[0]
}

// look takes the seats of those who do not use them: clients that neither send nor read may do so for as long as a request may take, and a
// wait that nobody has thought of must not end all others.
func (s *seats) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for own := range s.taken {
		held := now.Sub(own.since)
		if since := own.blocked.Load(); since > 0 && held-time.Duration(since) >= seatPatience || held >= seatTime {
			s.stand(own)
		}
	}
	if len(s.waiting) > 0 {
		s.looking.Reset(seatPatience)
	}
}

type seatKey struct{}

// idle gives up the seat of a context's request, if it has one.
func idle(ctx context.Context) {
	if own, ok := ctx.Value(seatKey{}).(*seat); ok {
		own.leave()
	}
}

// withSeats has h serve who has a seat. Those without one are the server itself, questions after its health, and streams but for the
// beginning of a watch.
func (s *seats) withSeats(h http.Handler, store Store, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := request.RequestInfoFrom(ctx)
		if !ok || ctx.Value(ownRequest{}) != nil || healthPaths.Has(info.Path) || info.Verb != "watch" && longRunning(r, info) {
			h.ServeHTTP(w, r)
			return
		}
		confirmed := readsAll(r, info) && store.Barrier(ctx) == nil
		name := ""
		if u, ok := request.UserFrom(ctx); ok {
			name = u.GetName()
		}
		own, err := s.take(ctx, name)
		if err != nil {
			err := apierrors.NewTimeoutError("the request waited for its turn until its time was over", 1)
			responsewriters.ErrorNegotiated(err, codecs, metav1.Unversioned, w, r)
			return
		}
		defer own.leave()
		own.confirmed = confirmed
		r = r.WithContext(context.WithValue(ctx, seatKey{}, own))
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = seatedBody{r.Body, own}
		}
		h.ServeHTTP(responsewriter.WrapForHTTP1Or2(seatedWriter{w, own, ctx}), r)
	})
}

// readsAll says that a request reads objects and wants every write that was acknowledged, for which it waits without a seat.
func readsAll(r *http.Request, info *request.RequestInfo) bool {
	return info.IsResourceRequest && (info.Verb == "get" || info.Verb == "list" || info.Verb == "watch") && (r.URL.RawQuery == "" || r.URL.Query().Get("resourceVersion") == "")
}

// during notes that the client is waited for.
func (own *seat) during(do func([]byte) (int, error), p []byte) (int, error) {
	own.blocked.Store(max(1, int64(time.Since(own.since))))
	defer own.blocked.Store(0)
	return do(p)
}

type seatedBody struct {
	io.ReadCloser
	own *seat
}

func (b seatedBody) Read(p []byte) (int, error) { return b.own.during(b.ReadCloser.Read, p) }

type seatedWriter struct {
	http.ResponseWriter
	own *seat
	ctx context.Context
}

var _ responsewriter.UserProvidedDecorator = seatedWriter{}

// Unwrap lets http.ResponseController find the connection.
func (w seatedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w seatedWriter) Write(p []byte) (n int, err error) {
	w.own.pass(w.ctx)
	return w.own.during(w.ResponseWriter.Write, p)
}

// seatedStore gives up the seats of those who wait for raft.
type seatedStore struct{ Store }

// Propose implements Store.
func (s seatedStore) Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error) {
	idle(ctx)
	return s.Store.Propose(ctx, list...)
}

// Barrier implements Store. A write that has a seat keeps it, for it has most of its work before it.
func (s seatedStore) Barrier(ctx context.Context) error {
	if own, ok := ctx.Value(seatKey{}).(*seat); ok && own.confirmed {
		return nil
	}
	return s.Store.Barrier(ctx)
}
