package kube

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// withLimits answers 429 with Retry-After, which clients obey, to what is too much at once. It stands behind
// authentication, because it counts by user.
func withLimits(h http.Handler, l Limits, s runtime.NegotiatedSerializer) http.Handler {
	requests, streams := newGate(l.Requests, l.Requests), newGate(l.Streams, l.StreamsPerUser)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(ownRequest{}) != nil { // nobody's storm may keep the server from its own work
			h.ServeHTTP(w, r)
			return
		}
		gate, name := requests, ""
		if endless(r) {
			gate = streams
		}
		if u, ok := request.UserFrom(r.Context()); ok {
			name = u.GetName()
		}
		if !gate.enter(name) {
			err := apierrors.NewTooManyRequests("too many requests at once, please try again later", 1)
			responsewriters.ErrorNegotiated(err, s, metav1.Unversioned, w, r)
			return
		}
		defer gate.leave(name)
		h.ServeHTTP(w, r)
	})
}

// endless tells of a request without a deadline.
func endless(r *http.Request) bool {
	info, ok := request.RequestInfoFrom(r.Context())
	return ok && longRunning(r, info)
}

// gate counts who is inside. A user may have no more places than are left free for others (one at most half of all, n of them 1/(n+1) each), so
// that no number of storms keeps one who comes later out.
type gate struct {
	max, perUser int

	mu    sync.Mutex
	all   int            // the sum of users
	users map[string]int // each > 0
}

func newGate(most, perUser int) *gate {
	return &gate{max: most, perUser: perUser, users: map[string]int{}}
}

func (g *gate) enter(user string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users[user] >= min(g.perUser, g.max-g.all) {
		return false
	}
	g.all++
	g.users[user]++
	return true
}

func (g *gate) leave(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.users[user]--; g.users[user] == 0 {
		delete(g.users, user)
	}
}

type cutOffKey struct{}

// withCutOff ends what a client holds up by neither sending nor reading. A context alone does not: it wakes nobody
// who reads a body or writes an answer. What is long-running is ended by who knows that it is stuck, with cutOff.
func withCutOff(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := &deadlines{c: http.NewResponseController(w)}
		defer d.end()
		if endless(r) {
			end := func() { d.set(time.Time{}, past) }
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), cutOffKey{}, end)))
			return
		}
		stop := context.AfterFunc(r.Context(), func() { d.set(past, time.Now().Add(cutOffGrace)) })
		defer stop()
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = timelyBody{r.Body, r.Context()}
		}
		h.ServeHTTP(w, r)
	})
}

// deadlines are those of one request's connection. A writer of HTTP/2 must not be touched when its handler has returned, and
// whoever cuts a request off does not know whether it has.
type deadlines struct {
	c *http.ResponseController

	mu   sync.Mutex
	over bool
}

// set sets the deadlines for reading, unless it is zero, and writing.
func (d *deadlines) set(read, write time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	if !read.IsZero() {
		_ = d.c.SetReadDeadline(read) // not every writer can, as in a test
	}
	_ = d.c.SetWriteDeadline(write)
}

// end waits for a set that is under way, and lets none begin.
func (d *deadlines) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
}

// timelyBody says why a body's reading was ended, for otherwise it would look like a fault of the server.
type timelyBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b timelyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = apierrors.NewTimeoutError("the body of the request did not come in time", 0)
	}
	return n, err
}

// past is a deadline that wakes whoever reads or writes.
var past = time.Unix(1, 0)

// cutOff ends the answer to the long-running request of a context.
func cutOff(ctx context.Context) {
	if end, ok := ctx.Value(cutOffKey{}).(func()); ok {
		end()
	}
}
