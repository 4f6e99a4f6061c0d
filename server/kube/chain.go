package kube

import (
	"net/http"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
)

// longRunning are the requests without a deadline.
var longRunning = genericfilters.BasicLongRunningRequestCheck(
	sets.NewString("watch", "proxy"),
	sets.NewString("attach", "exec", "proxy", "log", "portforward"),
)

// shortChain wraps the API handlers in what they need and no more: priority and fairness, the
// timeout goroutine, tracing, CORS and latency tracking cost more than the handlers themselves.
func shortChain(h http.Handler, c *server.Config) http.Handler {
	h = filters.WithAuthorization(h, c.Authorization.Authorizer, c.Serializer)
	h = impersonation.WithImpersonation(h, c.Authorization.Authorizer, c.Serializer)
	h = filters.WithAuthentication(h, c.Authentication.Authenticator, filters.Unauthorized(c.Serializer), nil, nil)
	h = withInFlightLimit(h, requestsInFlightMax)
	h = filters.WithWarningRecorder(h)
	h = filters.WithRequestDeadline(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	h = filters.WithCacheControl(h)
	h = filters.WithRequestInfo(h, c.RequestInfoResolver)
	h = filters.WithRequestReceivedTimestamp(h)
	h = genericfilters.WithPanicRecovery(h, c.RequestInfoResolver)
	return filters.WithAuditInit(h)
}

// withInFlightLimit answers 429 with Retry-After, which clients obey, when too many requests run.
func withInFlightLimit(h http.Handler, limit int64) http.Handler {
	var running atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && longRunning(r, info) {
			h.ServeHTTP(w, r)
			return
		}
		defer running.Add(-1)
		if running.Add(1) > limit {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
			return
		}
		h.ServeHTTP(w, r)
	})
}
