package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestWire0WhoMayDoWhat(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	anonymous := rest.AnonymousClientConfig(h.config)
	if _, err := kubernetes.NewForConfigOrDie(anonymous).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous: %v", err)
	}
	user := kubernetes.NewForConfigOrDie(h.user(pkix.Name{CommonName: "eve"}))
	if _, err := user.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "eve"`) {
		t.Errorf("a user without rights: %v", err)
	}
	if v, err := user.Discovery().ServerVersion(); err != nil || v.Major != "1" || v.Minor != "37" || v.GitVersion != "v1.37.2" {
		t.Errorf("version: %+v, %v", v, err)
	}
	forged := newAuthority(t).issue(t, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth)
	stranger := rest.CopyConfig(h.config)
	stranger.CertData, stranger.KeyData = encode(t, forged)
	if _, err := kubernetes.NewForConfigOrDie(stranger).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a certificate that the authority did not sign: %v", err)
	}
	as := rest.CopyConfig(h.config)
	as.Impersonate = rest.ImpersonationConfig{UserName: "eve"}
	if _, err := kubernetes.NewForConfigOrDie(as).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("impersonating a user without rights: %v", err)
	}
}

// get fetches a path as the administrator.
func (h *harness) get(path string, header map[string]string) (*http.Response, []byte) {
	h.Helper()
	cert, err := tls.X509KeyPair(h.config.CertData, h.config.KeyData)
	if err != nil {
		h.Fatal(err)
	}
	tr := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: h.ca.pool, Certificates: []tls.Certificate{cert}}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest("GET", h.config.Host+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return resp, b
}

func TestWire2OpenAPI(t *testing.T) {
	h := start(t)
	_, b := h.get("/openapi/v3", nil)
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(b, &index); err != nil || index.Paths["apis/apps/v1"].ServerRelativeURL == "" {
		t.Fatalf("%s, %v", b, err)
	}
	url := index.Paths["apis/apps/v1"].ServerRelativeURL
	resp, b := h.get(url, nil)
	if resp.StatusCode != 200 || !strings.Contains(string(b), "x-kubernetes-group-version-kind") || !strings.Contains(string(b), "fieldValidation") ||
		!strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Fatalf("%d %v %.200s", resp.StatusCode, resp.Header, b)
	}
	if resp, _ := h.get(url, map[string]string{"If-None-Match": resp.Header.Get("Etag")}); resp.StatusCode != http.StatusNotModified {
		t.Errorf("with its ETag: %d", resp.StatusCode)
	}
	if resp, _ := h.get("/openapi/v3/apis/apps/v1?hash=old", nil); resp.StatusCode != http.StatusMovedPermanently || resp.Header.Get("Location") != url {
		t.Errorf("with an old hash: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, b := h.get("/openapi/v3/api/v1", map[string]string{"Accept": "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}); resp.StatusCode != 200 || len(b) < 10000 {
		t.Errorf("protobuf: %d, %d bytes", resp.StatusCode, len(b))
	}
	if resp, b := h.get("/openapi/v2", nil); resp.StatusCode != 200 || !strings.Contains(string(b), `"swagger":"2.0"`) {
		t.Errorf("v2: %d %.100s", resp.StatusCode, b)
	}
}

func TestWire0HealthAndWire1Discovery(t *testing.T) {
	h := start(t)
	for _, p := range []string{"/healthz", "/livez", "/readyz?verbose"} {
		if resp, b := h.get(p, nil); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", p, resp.StatusCode, b)
		}
	}
	resp, b := h.get("/apis", map[string]string{"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"})
	if !strings.Contains(resp.Header.Get("Content-Type"), "as=APIGroupDiscoveryList") || !strings.Contains(string(b), `"subresource":"scale"`) {
		t.Errorf("%v %.300s", resp.Header, b)
	}
	for path, want := range map[string]string{"/api": "APIVersions", "/apis": "APIGroupList", "/api/v1": "APIResourceList", "/apis/apps": "APIGroup", "/apis/apps/v1": "deployments/scale"} {
		if resp, b := h.get(path, nil); resp.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %.200s", path, resp.StatusCode, b)
		}
	}
}
