package kube_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/server/kube"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

// asked is an answer with its body read.
type asked struct {
	code   int
	header http.Header
	body   []byte
}

// ask sends one request as somebody, without the retries of a client.
func (h *harness) ask(who *rest.Config, method, path, contentType string, body io.Reader) asked {
	h.Helper()
	c, err := rest.HTTPClientFor(who)
	if err != nil {
		h.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, "https://"+h.addr+path, body)
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := c.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return asked{resp.StatusCode, resp.Header, b}
}

// status is the Status that an answer must be.
func (a asked) status(t testing.TB) *metav1.Status {
	t.Helper()
	s := &metav1.Status{}
	if err := json.Unmarshal(a.body, s); err != nil || s.Kind != "Status" || s.Status != metav1.StatusFailure || int(s.Code) != a.code {
		t.Fatalf("a %d with no Status of it: %.300q, %v", a.code, a.body, err)
	}
	return s
}

// master is somebody else who may do everything.
func (h *harness) master(name string) *rest.Config {
	return h.user(pkix.Name{CommonName: name, Organization: []string{"system:masters"}})
}

func TestBodyOverTheLimitIs413(t *testing.T) {
	h := start(t)
	long := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"` + strings.Repeat("x", 4<<20) + `"}}`
	for _, c := range []struct{ method, path, contentType string }{
		{"POST", configMaps, "application/json"},
		{"POST", configMaps, "application/yaml"},
		{"POST", configMaps, "application/vnd.kubernetes.protobuf"},
		{"PUT", configMaps + "/a", "application/json"},
		{"PATCH", configMaps + "/a", "application/merge-patch+json"},
		{"PATCH", configMaps + "/a", "application/json-patch+json"},
		{"PATCH", configMaps + "/a", "application/strategic-merge-patch+json"},
		{"PATCH", configMaps + "/a?fieldManager=m", "application/apply-patch+yaml"},
		{"DELETE", configMaps + "/a", "application/json"},
		{"DELETE", configMaps, "application/json"},
		{"POST", "/api/v1/namespaces/default/pods/a/eviction", "application/json"},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json"},
	} {
		a := h.ask(h.config, c.method, c.path, c.contentType, strings.NewReader(long))
		if s := a.status(t); a.code != http.StatusRequestEntityTooLarge || s.Reason != metav1.StatusReasonRequestEntityTooLarge {
			t.Errorf("%s %s as %s: %d %s %s", c.method, c.path, c.contentType, a.code, s.Reason, s.Message)
		}
	}
}

// heldStore keeps the reads that wait for a barrier, once the server has made its own first ones.
type heldStore struct {
	kube.Store
	holds            atomic.Bool
	entered, release chan struct{}
}

func (s *heldStore) Barrier(ctx context.Context) error {
	if !s.holds.Load() {
		return s.Store.Barrier(ctx)
	}
	select {
	case s.entered <- struct{}{}:
	case <-s.release:
		return nil
	}
	select {
	case <-s.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestTooManyRequestsAre429: one user has a share, all have a limit, and who leaves makes room.
// Invariant 66.
func TestTooManyRequestsAre429(t *testing.T) {
	held := &heldStore{entered: make(chan struct{}), release: make(chan struct{})}
	h := start(t, func(c *kube.Config) {
		held.Store, c.Store = c.Store, held
		c.Limits = kube.Limits{Requests: 2}
	})
	held.holds.Store(true)
	refused := func(who *rest.Config) {
		t.Helper()
		a := h.ask(who, "GET", configMaps, "", nil)
		if s := a.status(t); a.code != http.StatusTooManyRequests || s.Reason != metav1.StatusReasonTooManyRequests || a.header.Get("Retry-After") != "1" {
			t.Fatalf("%d %v %s", a.code, a.header, a.body)
		}
	}
	answers := make(chan asked, 2)
	enter := func(who *rest.Config) {
		go func() { answers <- h.ask(who, "GET", configMaps, "", nil) }()
		<-held.entered
	}
	bob := h.master("bob")
	enter(h.config)
	refused(h.config) // her share is used up
	enter(bob)
	refused(h.master("carol")) // and now everybody's
	close(held.release)
	for range 2 {
		if a := <-answers; a.code != http.StatusOK {
			t.Errorf("one that was let in: %d %s", a.code, a.body)
		}
	}
	if a := h.ask(h.config, "GET", configMaps, "", nil); a.code != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.code, a.body)
	}
}

// TestTooManyWatchesAre429: a storm of watches takes neither the room of others nor that of short requests.
// Invariant 66.
func TestTooManyWatchesAre429(t *testing.T) {
	h := start(t, func(c *kube.Config) { c.Limits = kube.Limits{Streams: 3, StreamsPerUser: 2} })
	begin := func(who *rest.Config) (watch.Interface, error) {
		return kubernetes.NewForConfigOrDie(who).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	}
	mine := make([]watch.Interface, 2)
	for i := range mine {
		w, err := begin(h.config)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		mine[i] = w
	}
	refused := func(who *rest.Config) {
		t.Helper()
		for _, path := range []string{configMaps + "?watch=true", "/api/v1/namespaces/default/pods/p/log"} {
			a := h.ask(who, "GET", path, "", nil)
			if s := a.status(t); a.code != http.StatusTooManyRequests || s.Reason != metav1.StatusReasonTooManyRequests || a.header.Get("Retry-After") != "1" {
				t.Fatalf("%s: %d %v %s", path, a.code, a.header, a.body)
			}
		}
	}
	refused(h.config)
	if a := h.ask(h.config, "GET", configMaps, "", nil); a.code != http.StatusOK {
		t.Fatalf("a list beside too many watches: %d %s", a.code, a.body)
	}
	w, err := begin(h.master("bob"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	refused(h.master("carol"))
	mine[0].Stop()
	if w, err = begin(h.master("carol")); err != nil { // with the client's retries, for the server hears of the end a moment later
		t.Fatal(err)
	}
	w.Stop()
}

// unread opens a watch and reads its head only. The body is what came after it.
func (h *harness) unread(who *rest.Config, protocol string) io.ReadCloser {
	h.Helper()
	cert, err := tls.X509KeyPair(who.CertData, who.KeyData)
	if err != nil {
		h.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(h.ca.cert)
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, NextProtos: []string{protocol}}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return c, err
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: dial, ForceAttemptHTTP2: protocol == "h2"}
	h.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Get("https://" + h.addr + configMaps + "?watch=true&resourceVersion=0")
	if err != nil {
		h.Fatal(err)
	}
	if want := map[string]int{"h2": 2, "http/1.1": 1}[protocol]; resp.StatusCode != http.StatusOK || resp.ProtoMajor != want {
		h.Fatalf("%s: %s", resp.Proto, resp.Status)
	}
	return resp.Body
}

// TestSlowReaderIsCutOff: a client that does not read its watch loses it, whatever its protocol; nobody else loses anything.
// Invariant 67.
func TestSlowReaderIsCutOff(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			const writes, bytes = 150, 200 << 10
			h := start(t, func(c *kube.Config) { c.Limits = kube.Limits{SlowReader: 2 * time.Second, StreamsPerUser: 1} })
			slow := h.master("slow")
			body := h.unread(slow, protocol)
			defer body.Close()
			cms := h.client.CoreV1().ConfigMaps("default")
			reader, err := cms.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Stop()
			seen := make(chan error, 1)
			go func() {
				for n := range writes {
					if e := <-reader.ResultChan(); e.Type != watch.Added {
						seen <- fmt.Errorf("after %d events: %+v", n, e)
						return
					}
				}
				seen <- nil
			}()
			for i := range writes {
				cm := configMap(fmt.Sprintf("c%d", i))
				cm.Data["long"] = strings.Repeat("x", bytes)
				if _, err := cms.Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-seen; err != nil {
				t.Error(err)
			}
			for { // the watch's end gives its user's only place back
				w, err := kubernetes.NewForConfigOrDie(slow).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
				if err == nil {
					w.Stop()
					break
				}
				if !apierrors.IsTooManyRequests(err) {
					t.Fatal(err)
				}
			}
			n, err := io.Copy(io.Discard, body)
			if err == nil || n >= writes*bytes {
				t.Errorf("the slow reader was given %d bytes and then %v", n, err)
			}
		})
	}
}

// TestBodyThatNeverComes: a client that holds a request up by not sending it is answered, and its place is free again.
// Invariant 67.
func TestBodyThatNeverComes(t *testing.T) {
	h := start(t, func(c *kube.Config) { c.Limits = kube.Limits{Request: 100 * time.Millisecond, Requests: 2} })
	cert, err := tls.X509KeyPair(h.config.CertData, h.config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(h.ca.cert)
	conn, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", configMaps)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if s := (asked{resp.StatusCode, resp.Header, b}).status(t); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("%s: %s", resp.Status, s.Message)
	}
	if a := h.ask(h.config, "GET", configMaps, "", nil); a.code != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.code, a.body)
	}
}

// TestGarbageIs4xx: Invariant 68.
func TestGarbageIs4xx(t *testing.T) {
	h := start(t)
	for _, path := range []string{
		"/api/v1/namespaces/default/configmaps/" + strings.Repeat("a", 5000),
		"/api/v1/namespaces/..%2f..%2fetc/configmaps",
		"/api/v1/namespaces/default/configmaps/a%00b",
		"/api/v1/namespaces/default/configmaps/..",
		"/api/v1/namespaces/default/configmaps/a%2fb",
		"/api/v1/namespaces/%20/configmaps/%20",
		"/api/v1/namespaces/default/nothing",
		"/api/v9/configmaps",
		"/api//watch",
		"/apis/no.such.group/v1/things",
		"/apis/apps/v1/namespaces/default/deployments/a/b/c/d",
		configMaps + "?labelSelector=a%3D%3D%3Db",
		configMaps + "?labelSelector=a%20in%20(",
		configMaps + "?labelSelector=-a",
		configMaps + "?labelSelector=" + strings.Repeat("a", 100),
		configMaps + "?fieldSelector=data.a%3Db",
		configMaps + "?fieldSelector=%3Da",
		configMaps + "?limit=x",
		configMaps + "?continue=x",
		configMaps + "?continue=e30",
		configMaps + "?resourceVersion=x",
		configMaps + "?resourceVersion=-1",
		configMaps + "?resourceVersion=99999999999999999999",
		configMaps + "?resourceVersionMatch=x&resourceVersion=1",
		configMaps + "?watch=1&resourceVersion=x",
		configMaps + "?watch=1&timeoutSeconds=x",
		configMaps + "?watch=1&sendInitialEvents=true",
		"/api/v1/namespaces/default/pods/p/log?tailLines=x",
	} {
		a := h.ask(h.config, "GET", path, "", nil)
		if a.code < 400 || a.code >= 500 {
			t.Errorf("GET %.100s: %d %.200s", path, a.code, a.body)
			continue
		}
		a.status(t)
	}
	for name, body := range map[string]string{
		"label key":   `{"metadata":{"name":"a","labels":{"a b":"c"}}}`,
		"label value": `{"metadata":{"name":"a","labels":{"a":"\u0000"}}}`,
		"annotation":  `{"metadata":{"name":"a","annotations":{"":"c"}}}`,
		"name":        `{"metadata":{"name":"../a"}}`,
		"generate":    `{"metadata":{"generateName":"A_"}}`,
		"namespace":   `{"metadata":{"name":"a","namespace":"other"}}`,
		"key":         `{"metadata":{"name":"a"},"data":{"../k":"v"}}`,
		"finalizer":   `{"metadata":{"name":"a","finalizers":["a b"]}}`,
		"owner":       `{"metadata":{"name":"a","ownerReferences":[{}]}}`,
		"type":        `{"metadata":[]}`,
		"kind":        `{"kind":"Secret","apiVersion":"v1"}`,
		"version":     `{"kind":"ConfigMap","apiVersion":"v2"}`,
		"nothing":     ``,
		"no JSON":     `{`,
		"deep":        strings.Repeat(`{"a":`, 20000),
		"a list":      `[]`,
		"null":        `null`,
	} {
		a := h.ask(h.config, "POST", configMaps, "application/json", strings.NewReader(body))
		if a.code < 400 || a.code >= 500 {
			t.Errorf("%s: %d %.200s", name, a.code, a.body)
			continue
		}
		a.status(t)
	}
}
