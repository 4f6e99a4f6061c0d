package aggregate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	apiproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/streaming/pkg/httpstream"
)

// serveGroup lists a group's versions; next knows those of which no service has any.
func (a *Aggregator) serveGroup(w http.ResponseWriter, r *http.Request, list []*apiregistrationv1.APIService, next http.Handler) {
	if len(list) == 0 || r.Method != http.MethodGet {
		next.ServeHTTP(w, r)
		return
	}
	g := apiGroup(list)
	responsewriters.WriteObjectNegotiated(a.config.Codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, &g, false)
}

// serve sends a request on in the name of its user.
func (a *Aggregator) serve(w http.ResponseWriter, r *http.Request, b *backend) {
	if why, ok := b.available(); !ok {
		a.refuse(w, r, apierrors.NewServiceUnavailable(fmt.Sprintf("the service of APIService %s is not available: %s", b.service.Name, why)))
		return
	}
	who, ok := request.UserFrom(r.Context())
	if !ok {
		a.refuse(w, r, apierrors.NewInternalError(errors.New("the request has no user")))
		return
	}
	location := b.url(r.URL.Path)
	location.RawPath, location.RawQuery = r.URL.RawPath, r.URL.Query().Encode()
	out, cancel := apiproxy.NewRequestForProxy(location, r)
	defer cancel()
	way, upgrade := http.RoundTripper(b.transport), httpstream.IsUpgradeRequest(r)
	if upgrade { // which dials by itself, past the round tripper
		transport.SetAuthProxyHeaders(out, who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra())
	} else {
		way = transport.NewAuthProxyRoundTripper(who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra(), way)
	}
	h := proxy.NewUpgradeAwareHandler(location, way, true, upgrade, responder{a, b})
	h.RejectForwardingRedirects = true
	flowcontrol.RequestDelegated(r.Context()) // whose watch is begun there
	h.ServeHTTP(w, out)
}

func (a *Aggregator) refuse(w http.ResponseWriter, r *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, a.config.Codecs, metav1.Unversioned, w, r)
}

// responder says why a service did not answer, as clients of the API expect it.
type responder struct {
	a *Aggregator
	b *backend
}

var _ proxy.ErrorResponder = responder{}

// Error implements proxy.ErrorResponder.
func (p responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		p.a.refuse(w, r, apierrors.NewTimeoutError(fmt.Sprintf("the service of APIService %s did not answer in time", p.b.service.Name), 0))
		return
	}
	p.a.refuse(w, r, apierrors.NewServiceUnavailable(fmt.Sprintf("the service of APIService %s failed: %v", p.b.service.Name, err)))
}
