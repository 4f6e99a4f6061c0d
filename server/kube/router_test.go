package kube_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"

	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

func servedRoutes(t testing.TB) []*restful.WebService {
	t.Helper()
	s, err := kube.New(kube.Config{Store: kubetest.New(), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	return s.Services()
}

// The tree finds what go-restful's own router finds, for every route that is served and for paths that are not.
func TestRouterAgrees(t *testing.T) {
	services := servedRoutes(t)
	fast := &kube.Router{}
	inTree := 0
	check := func(method, path string) {
		q := &http.Request{Method: method, URL: &url.URL{Path: path}, Header: http.Header{"Accept": {"*/*"}, "Content-Type": {"application/json"}}}
		service, route, err := fast.SelectRoute(services, q)
		wantService, want, wantErr := restful.CurlyRouter{}.SelectRoute(services, q)
		if (err != nil) != (wantErr != nil) || service != wantService || (route == nil) != (want == nil) {
			t.Fatalf("%s %s: %v, %v; want %v, %v", method, path, route, err, want, wantErr)
		}
		if route != nil && (route.Path != want.Path || route.Method != want.Method || route.Operation != want.Operation) {
			t.Errorf("%s %s: %s %s, want %s %s", method, path, route.Operation, route.Path, want.Operation, want.Path)
		}
		if fast.Holds(method, path) {
			inTree++
		}
	}
	for _, service := range services {
		for _, r := range service.Routes() {
			for _, fill := range []string{"x", "status", "pods", "namespaces"} {
				path := strings.NewReplacer("{namespace}", fill, "{name}", fill, "{path:*}", "a/b").Replace(r.Path)
				for _, method := range []string{r.Method, http.MethodGet, http.MethodPatch, http.MethodTrace} {
					check(method, path)
					check(method, path+"/")
					check(method, path+"/more")
				}
			}
		}
	}
	for _, path := range []string{"/", "", "/api", "/api/", "//", "/api//v1", "/nothing", "/api/v1/namespaces//pods"} {
		check(http.MethodGet, path)
	}
	if inTree < 500 {
		t.Errorf("only %d requests were found in the tree", inTree)
	}
}

func BenchmarkRouter(b *testing.B) {
	services := servedRoutes(b)
	q := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/api/v1/namespaces/default/configmaps"}, Header: http.Header{}}
	for name, r := range map[string]restful.RouteSelector{"tree": &kube.Router{}, "go-restful": restful.CurlyRouter{}} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if _, _, err := r.SelectRoute(services, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
