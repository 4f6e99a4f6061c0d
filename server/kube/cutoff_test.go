package kube_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/peapod-sh/peapod/server/kube"
)

// A request whose time is over just as its handler returns must not touch what is no longer its own.
func TestCutOffRacesWithTheEnd(t *testing.T) {
	s := httptest.NewUnstartedServer(kube.WithCutOff(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })))
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{Verb: "get"}))
		go cancel()
		inner.ServeHTTP(w, r.WithContext(ctx))
	})
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	client.Timeout = 20 * time.Second
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if r, err := client.Get(s.URL); err == nil { // some are cut off, which is the point
					r.Body.Close()
				}
			}
		})
	}
	wg.Wait()
}
