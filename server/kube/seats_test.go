package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/peapod-sh/peapod/api"
)

// queued has requests of users wait for a seat, in this order, and say their user when they have got one.
func queued(t *testing.T, s *seats, called chan<- string, users ...string) {
	t.Helper()
	for _, u := range users {
		go func() {
			if own, err := s.take(t.Context(), u); err == nil {
				called <- u
				own.leave()
			}
		}()
		synctest.Wait()
	}
}

// TestUsersTakeTurns: who asks for much waits for himself, not others for him.
// Invariant 205.
func TestUsersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeats(1)
		first, err := s.take(t.Context(), "flood")
		if err != nil {
			t.Fatal(err)
		}
		called := make(chan string, 8)
		queued(t, s, called, "flood", "flood", "flood", "flood", "quiet", "other", "quiet")
		first.leave()
		synctest.Wait()
		close(called)
		var got []string
		for u := range called {
			got = append(got, u)
		}
		if want := strings.Fields("flood quiet other flood quiet flood flood"); !slices.Equal(got, want) {
			t.Errorf("the seat went to %v, want %v", got, want)
		}
	})
}

// TestSeatsOfWhoHasFewest: who has a seat already is behind who has none, whoever came first.
// Invariant 205.
func TestSeatsOfWhoHasFewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeats(2)
		first, _ := s.take(t.Context(), "flood")
		second, _ := s.take(t.Context(), "flood")
		called := make(chan string, 8)
		queued(t, s, called, "flood", "flood", "quiet")
		first.leave()
		synctest.Wait()
		if got := <-called; got != "quiet" {
			t.Errorf("the seat went to %s", got)
		}
		second.leave()
	})
}

// TestLongAnswersPassTheirSeats: another user need not wait until a long answer has been made, and it goes on before its user's next.
// Invariant 214.
func TestLongAnswersPassTheirSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeats(1)
		called, write, written := make(chan string, 8), make(chan struct{}), make(chan struct{})
		h := s.withSeats(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range write {
				_, _ = w.Write([]byte("part"))
				written <- struct{}{}
			}
			called <- "end"
		}), nil, api.Codecs)
		go h.ServeHTTP(httptest.NewRecorder(), seatedRequest(t.Context(), "/long", "get", "flood"))
		synctest.Wait()
		queued(t, s, called, "flood", "quiet")
		write <- struct{}{}
		<-written
		if len(called) > 0 {
			t.Fatalf("%s had the seat before its time", <-called)
		}
		time.Sleep(seatTurn)
		write <- struct{}{}
		<-written
		if len(called) != 1 {
			t.Fatalf("%d others had the seat, want one", len(called))
		}
		close(write)
		synctest.Wait()
		close(called)
		var got []string
		for u := range called {
			got = append(got, u)
		}
		if want := strings.Fields("quiet end flood"); !slices.Equal(got, want) {
			t.Errorf("the seat went to %v, want %v", got, want)
		}
		if s.free != 1 || len(s.taken)+len(s.waiting)+len(s.turns)+len(s.having) > 0 {
			t.Errorf("%d free, %d taken, %v wait, %v have", s.free, len(s.taken), s.waiting, s.having)
		}
	})
}

// TestWhoNeedsNoSeatGetsNone: the end of a watch's beginning may come while what it wrote waits to go on. It goes on without a seat then, since
// a watch would keep one for nothing.
// Invariant 231.
func TestWhoNeedsNoSeatGetsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeats(1)
		end := make(chan struct{})
		own, _ := s.take(t.Context(), "watcher")
		time.Sleep(seatTurn)
		go func() { // has the seat for long, and gives it to nobody
			next, _ := s.take(t.Context(), "other")
			<-end
			next.leave()
		}()
		synctest.Wait()
		written := make(chan struct{})
		go func() {
			own.pass(t.Context())
			close(written)
		}()
		synctest.Wait()
		own.leave()
		synctest.Wait()
		select {
		case <-written:
		default:
			t.Error("it still waits for a seat")
		}
		close(end)
		<-written
		synctest.Wait()
		if s.free != 1 || len(s.taken)+len(s.waiting)+len(s.turns)+len(s.having) > 0 {
			t.Errorf("%d free, %d taken, %v wait, %v have", s.free, len(s.taken), s.waiting, s.having)
		}
	})
}

// TestSeatsOfWhoLeaves: who does not wait any longer gets no seat, and a seat that is given up twice is one.
func TestSeatsOfWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeats(1)
		first, _ := s.take(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := s.take(ctx, "b")
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		first.leave()
		first.leave()
		if s.free != 1 || len(s.taken)+len(s.waiting)+len(s.turns) > 0 {
			t.Errorf("%d free, %d taken, %v wait", s.free, len(s.taken), s.waiting)
		}
	})
}

// TestBlockedSeatsAreTaken: a client that does not send or read holds up nobody else, nor does a wait of any other kind for long.
// Invariant 205.
func TestBlockedSeatsAreTaken(t *testing.T) {
	for name, wait := range map[string]func(own *seat, end chan struct{}){
		"a client": func(own *seat, end chan struct{}) {
			_, _ = own.during(func([]byte) (int, error) { <-end; return 0, nil }, nil)
		},
		"something else": func(_ *seat, end chan struct{}) { <-end },
	} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			s := newSeats(1)
			own, _ := s.take(t.Context(), "slow")
			go wait(own, end)
			next, err := s.take(t.Context(), "quick") // which would not return
			if err != nil {
				t.Fatal(err)
			}
			own.leave() // has no seat to give
			next.leave()
			if s.free != 1 {
				t.Errorf("%d seats are free of 1", s.free)
			}
		})
	}
}

// seatedRequest is one to withSeats.
func seatedRequest(ctx context.Context, path, verb, who string) *http.Request {
	ctx = request.WithRequestInfo(request.WithUser(ctx, &user.DefaultInfo{Name: who}), &request.RequestInfo{Path: path, Verb: verb})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://h"+path, nil)
	if err != nil {
		panic(err)
	}
	return r
}

// TestNobodyWaitsForASeat: of those who need none, and behind those who wait for something else.
func TestNobodyWaitsForASeat(t *testing.T) {
	s := newSeats(1)
	working, end := make(chan struct{}), make(chan struct{})
	h := s.withSeats(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/work":
			close(working)
			<-end
		case "/wait":
			idle(r.Context())
		}
	}), nil, api.Codecs)
	done := make(chan struct{})
	go func() {
		h.ServeHTTP(httptest.NewRecorder(), seatedRequest(t.Context(), "/work", "get", "a"))
		close(done)
	}()
	<-working
	own := context.WithValue(t.Context(), ownRequest{}, true)
	h.ServeHTTP(httptest.NewRecorder(), seatedRequest(own, "/any", "get", "system:apiserver"))
	h.ServeHTTP(httptest.NewRecorder(), seatedRequest(t.Context(), "/readyz", "get", "b"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, seatedRequest(ended, "/any", "get", "b"))
	if w.Code != http.StatusGatewayTimeout {
		t.Errorf("one that waited until its end was answered %d", w.Code)
	}
	close(end)
	<-done
	for range 3 {
		h.ServeHTTP(httptest.NewRecorder(), seatedRequest(t.Context(), "/wait", "get", "b"))
	}
	if s.free != 1 {
		t.Errorf("%d seats are free of 1", s.free)
	}
}
