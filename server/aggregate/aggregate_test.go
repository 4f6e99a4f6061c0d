package aggregate_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/aggregate"
)

// pair is a certificate for names and for clients, which vouches for itself.
func pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// way reaches the one service that there is.
type way struct{ address string }

func (w way) Endpoint(_, service string, _ int32) (string, error) {
	if w.address == "" {
		return "", fmt.Errorf("no endpoints available for service %q", service)
	}
	return w.address, nil
}

func (w way) Dial(ctx context.Context, _, _, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// cluster is an Aggregator in front of one service, behind what a request has passed when it comes to it.
type cluster struct {
	*aggregate.Aggregator
	front   *httptest.Server
	service *apiregistrationv1.APIService
}

var shop = types.NamespacedName{Namespace: "shop", Name: "api"}

func available(s *apiregistrationv1.APIService, status apiregistrationv1.ConditionStatus, reason string) *apiregistrationv1.APIService {
	s = s.DeepCopy()
	s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{Type: apiregistrationv1.Available, Status: status, Reason: reason}}
	return s
}

func newService(group, version string) *apiregistrationv1.APIService {
	port := int32(443)
	s := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: version + "." + group, UID: types.UID(group + version)},
		Spec: apiregistrationv1.APIServiceSpec{Group: group, Version: version, GroupPriorityMinimum: 1000, VersionPriority: 15,
			Service: &apiregistrationv1.ServiceReference{Namespace: shop.Namespace, Name: shop.Name, Port: &port}}}
	return s
}

// start has the service answer by a handler. Requests have limit to be answered.
func start(t *testing.T, limit time.Duration, h http.HandlerFunc) *cluster {
	t.Helper()
	back := httptest.NewUnstartedServer(h)
	cert := pair(t, shop.Name+"."+shop.Namespace+".svc")
	back.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	back.EnableHTTP2 = true
	back.StartTLS()
	t.Cleanup(func() { back.CloseClientConnections(); back.Close() })
	return startAt(t, limit, back.Listener.Addr().String(), cert)
}

func startAt(t *testing.T, limit time.Duration, address string, cert tls.Certificate) *cluster {
	t.Helper()
	prove := pair(t, "front-proxy-client")
	c := &cluster{service: newService("shop.example", "v1"), Aggregator: aggregate.New(aggregate.Config{Services: way{address}, Codecs: api.Codecs,
		Certificate: func() (*tls.Certificate, error) { return &prove, nil }})}
	c.service.Spec.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	c.Update([]*apiregistrationv1.APIService{available(c.service, apiregistrationv1.ConditionTrue, "Passed")})
	inner := c.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "own") }))
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("apis"), GrouplessAPIPrefixes: sets.NewString()}
	c.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := resolver.NewRequestInfo(r)
		if err != nil {
			t.Error(err)
		}
		ctx := request.WithRequestInfo(request.WithUser(r.Context(), &user.DefaultInfo{Name: "jane", Groups: []string{"buyers", "staff"},
			Extra: map[string][]string{"floor": {"2"}}}), info)
		if r.Header.Get("Upgrade") == "" && !strings.Contains(r.URL.RawQuery, "watch") {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		inner.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(func() { c.front.CloseClientConnections(); c.front.Close() })
	return c
}

const orders = "/apis/shop.example/v1/namespaces/a/orders"

func (c *cluster) get(t *testing.T, path string, header ...string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.front.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(a.Body) // a half of it is what some tests want
	return a.StatusCode, string(b)
}

// TestServiceIsTold: the service hears who asks, from somebody who proves to be the cluster, and nobody else can say so. Invariant 200.
func TestServiceIsTold(t *testing.T) {
	c := start(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		proof := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			proof = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprint(w, r.Host, r.URL, r.Header["X-Remote-User"], r.Header["X-Remote-Group"], r.Header["X-Remote-Extra-Floor"], r.Header["X-Remote-Extra-Role"], " ", proof)
	})
	_, got := c.get(t, orders+"?limit=5&a=b", "X-Remote-User", "root", "X-Remote-Group", "system:masters", "X-Remote-Extra-Role", "boss")
	if want := "api.shop.svc:443" + orders + "?a=b&limit=5 [jane] [buyers staff] [2] [] front-proxy-client"; got != want {
		t.Errorf("the service heard %s\nwant %s", got, want)
	}
	for _, path := range []string{"/apis/shop.example/v2/orders", "/apis/other/v1", "/apis", "/api/v1/pods", "/apis/shop.examples/v1"} {
		if _, got := c.get(t, path); got != "own" {
			t.Errorf("%s is answered by %q", path, got)
		}
	}
}

// TestUnavailable: nobody connects to a service of which the cluster knows that it is not there. Invariant 201.
func TestUnavailable(t *testing.T) {
	c := start(t, time.Minute, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	c.Update([]*apiregistrationv1.APIService{available(c.service, apiregistrationv1.ConditionFalse, "MissingEndpoints")})
	wantStatus(t, c, 503, "ServiceUnavailable", "v1.shop.example is not available: MissingEndpoints")
	c.Update([]*apiregistrationv1.APIService{c.service})
	wantStatus(t, c, 503, "ServiceUnavailable", "it has not been asked yet")
	bad := available(c.service, apiregistrationv1.ConditionTrue, "Passed")
	bad.Spec.CABundle = []byte("nonsense")
	c.Update([]*apiregistrationv1.APIService{bad})
	wantStatus(t, c, 503, "ServiceUnavailable", "spec.caBundle holds no certificate")
	c.Update(nil)
	if _, got := c.get(t, orders); got != "own" {
		t.Errorf("without the APIService it is answered by %q", got)
	}
}

func wantStatus(t *testing.T, c *cluster, code int, reason, words string) {
	t.Helper()
	got, body := c.get(t, orders)
	var s metav1.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || got != code || string(s.Reason) != reason || !strings.Contains(s.Message, words) {
		t.Errorf("got %d %s (%v)\nwant %d %s %q", got, body, err, code, reason, words)
	}
}

// TestBadServices: whatever a service does, its clients hear of it in time. Invariant 201.
func TestBadServices(t *testing.T) {
	t.Run("hangs", func(t *testing.T) {
		wantStatus(t, start(t, 300*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), 504, "Timeout", "did not answer in time")
	})
	t.Run("redirects", func(t *testing.T) {
		c := start(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		})
		if code, body := c.get(t, orders); code != 502 || !strings.Contains(body, "attempted to redirect") {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("ends in the middle", func(t *testing.T) {
		c := start(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		})
		a, err := http.Get(c.front.URL + orders)
		if err == nil {
			_, err = io.ReadAll(a.Body)
			a.Body.Close()
		}
		if err == nil {
			t.Error("the half is taken for the whole")
		}
	})
	t.Run("talks nonsense", func(t *testing.T) {
		wantStatus(t, startRaw(t, "this is no HTTP\n\n"), 503, "ServiceUnavailable", "malformed HTTP")
	})
	t.Run("says nothing", func(t *testing.T) {
		wantStatus(t, startRaw(t, ""), 503, "ServiceUnavailable", "the service of APIService v1.shop.example failed")
	})
	t.Run("is somebody else", func(t *testing.T) {
		c := start(t, time.Minute, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
		other := pair(t, "api.shop.svc")
		c.service.Spec.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate[0]})
		c.Update([]*apiregistrationv1.APIService{available(c.service, apiregistrationv1.ConditionTrue, "Passed")})
		wantStatus(t, c, 503, "ServiceUnavailable", "certificate")
	})
	t.Run("nobody", func(t *testing.T) {
		wantStatus(t, startAt(t, time.Minute, "", pair(t, "x")), 503, "ServiceUnavailable", `no endpoints available for service "api"`)
	})
}

// startRaw has a service that speaks TLS and then only these words.
func startRaw(t *testing.T, words string) *cluster {
	t.Helper()
	cert := pair(t, "api.shop.svc")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, words)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return startAt(t, time.Minute, l.Addr().String(), cert)
}

// TestStreams: events come while the answer goes on, and an upgraded connection carries bytes both ways.
func TestStreams(t *testing.T) {
	goOn := make(chan struct{})
	c := start(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echo(t, w, r)
			return
		}
		fmt.Fprintln(w, "first")
		w.(http.Flusher).Flush()
		<-goOn
		fmt.Fprintln(w, "second")
	})
	a, err := http.Get(c.front.URL + orders + "?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	lines := bufio.NewReader(a.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Errorf("got %q %v", line, err)
	}
	close(goOn)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Errorf("got %q %v", line, err)
	}
	for _, protocol := range []string{"websocket", "SPDY/3.1"} {
		upgraded(t, c, protocol)
	}
}

// echo says who asks, and then what it is told.
func echo(t *testing.T, w http.ResponseWriter, r *http.Request) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\nhello %s\n", r.Header.Get("Upgrade"), r.Header.Get("X-Remote-User"))
	_, _ = io.Copy(conn, both) // until the client closes
}

func upgraded(t *testing.T, c *cluster, protocol string) {
	t.Helper()
	conn, err := net.Dial("tcp", c.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/tea/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", orders, protocol)
	in := bufio.NewReader(conn)
	a, err := http.ReadResponse(in, nil)
	if err != nil || a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s: %+v %v", protocol, a, err)
	}
	if line, err := in.ReadString('\n'); line != "hello jane\n" {
		t.Errorf("%s: got %q %v", protocol, line, err)
	}
	said := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	go func() { _, _ = conn.Write(said) }() // ends with the connection
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(in, heard); err != nil || !bytes.Equal(heard, said) {
		t.Errorf("%s: what comes back is not what was said: %v", protocol, err)
	}
}
