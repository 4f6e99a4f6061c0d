package kube_test

import (
	"net/http/httptest"
	"testing"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/peapod-sh/peapod/server/kube"
)

// A stream of another's API must not end with the deadline of requests, and nobody gets rid of that by a header alone.
func TestLongRunning(t *testing.T) {
	for _, c := range []struct {
		info    apirequest.RequestInfo
		upgrade bool
		want    bool
	}{
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "watch", Resource: "pods"}, false, true},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "get", Resource: "pods", Subresource: "exec"}, false, true},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "get", Resource: "pods"}, true, false},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "update", Resource: "pods", Subresource: "status"}, true, false},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "get", APIGroup: "subresources.example", Resource: "machines", Subresource: "console"}, true, true},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "get", APIGroup: "subresources.example", Resource: "machines", Subresource: "console"}, false, false},
		{apirequest.RequestInfo{IsResourceRequest: true, Verb: "get", APIGroup: "subresources.example", Resource: "machines"}, true, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if c.upgrade {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		if got := kube.LongRunning(r, &c.info); got != c.want {
			t.Errorf("%+v upgrade %v: %v", c.info, c.upgrade, got)
		}
	}
}
