package kube

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// TestOwnRequests: the loopback's requests are the server's own, and no header makes another one so.
// Invariant 159.
func TestOwnRequests(t *testing.T) {
	nobody := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	who := ownRequests{nobody}
	l := &loopback{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a, ok, err := who.AuthenticateRequest(r)
		if !ok || err != nil || a.User.GetName() != "system:apiserver" {
			t.Errorf("an own request is of %v, %v", a, err)
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(append([]byte("heard "), body...))
	})}
	r, err := http.NewRequest("POST", "http://loopback/x?y", strings.NewReader("this"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := l.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); err != nil || string(b) != "heard this" || answer.StatusCode != http.StatusAccepted {
		t.Errorf("answered %d %q, %v", answer.StatusCode, b, err)
	}
	r.Header.Set("X-Remote-User", "system:apiserver")
	if _, ok, _ := who.AuthenticateRequest(r); ok {
		t.Error("a request from outside is taken for an own one")
	}
}

// TestLoopbackEnds: a handler ends when its client does, before and after the head of its answer.
func TestLoopbackEnds(t *testing.T) {
	for _, begins := range []bool{false, true} {
		ended := make(chan struct{})
		l := &loopback{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			if begins {
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})}
		ctx, cancel := context.WithCancel(context.Background())
		r, err := http.NewRequestWithContext(ctx, "GET", "http://loopback/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if begins {
			answer, err := l.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		} else {
			cancel()
			if _, err := l.RoundTrip(r); !errors.Is(err, context.Canceled) {
				t.Errorf("a request that was given up: %v", err)
			}
		}
		<-ended
		cancel()
	}
}
