package kube

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/peapod-sh/peapod/api"
)

// longRunning are the requests without a deadline. What others serve may have subresources of any name that are streams.
func longRunning(r *http.Request, info *request.RequestInfo) bool {
	return alwaysLong(r, info) || info.Subresource != "" && httpstream.IsUpgradeRequest(r) &&
		api.KindFor(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}) == nil
}

var alwaysLong = genericfilters.BasicLongRunningRequestCheck(
	sets.NewString("watch", "proxy"),
	sets.NewString("attach", "exec", "proxy", "log", "portforward"),
)

// chain wraps the API handlers in what they need and no more: the timeout goroutine, tracing, CORS and latency tracking cost more than
// the handlers themselves.
func (s *Server) chain(h http.Handler, c *server.Config) http.Handler {
	h = s.aggregation.Wrap(newSeats(s.config.Limits.Seats).withSeats(s.withPlain(h), s.config.Store, c.Serializer))
	h = filters.WithAuthorization(h, c.Authorization.Authorizer, c.Serializer)
	h = s.withFlows(h, c)
	h = impersonation.WithImpersonation(h, c.Authorization.Authorizer, c.Serializer)
	h = withLimits(h, s.config.Limits, c.Serializer)
	h = filters.WithAudit(h, s.config.Audit, s.config.AuditRules, c.LongRunningFunc)
	stranger := filters.WithFailedAuthenticationAudit(filters.Unauthorized(c.Serializer), s.config.Audit, s.config.AuditRules)
	h = filters.WithAuthentication(h, c.Authentication.Authenticator, stranger, nil, nil)
	h = filters.WithWarningRecorder(h)
	h = withCutOff(h)
	h = filters.WithRequestDeadline(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	h = withPlainLists(h)
	h = filters.WithCacheControl(h)
	h = withRequestInfo(h, c)
	h = filters.WithRequestReceivedTimestamp(h)
	h = genericfilters.WithPanicRecovery(h, c.RequestInfoResolver)
	return filters.WithAuditInit(h)
}

// withRequestInfo reads what a path asks for. Apiserver's own filter calls a path that cannot be read a fault of the server.
func withRequestInfo(h http.Handler, c *server.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := c.RequestInfoResolver.NewRequestInfo(r)
		if err != nil {
			responsewriters.ErrorNegotiated(apierrors.NewBadRequest(err.Error()), c.Serializer, metav1.Unversioned, w, r)
			return
		}
		h.ServeHTTP(w, r.WithContext(request.WithRequestInfo(r.Context(), info)))
	})
}
