package ingress

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// proxyFor serves ingresses whose service "a" has the given endpoints.
func proxyFor(endpoints []string, list ...*networkingv1.Ingress) *Proxy {
	p := New(Config{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, HTTPSPort: 8443, Logger: hclog.NewNullLogger()})
	p.PutClass(&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: networkingv1.IngressClassSpec{Controller: api.IngressController}})
	for _, in := range list {
		p.PutIngress(in)
	}
	p.Swap(tableTo(endpoints...))
	return p
}

func tableTo(endpoints ...string) *netproxy.Table {
	t := tableOf("a")
	t.Services[0].Ports[0].Endpoints = nil
	for _, e := range endpoints {
		t.Services[0].Ports[0].Endpoints = append(t.Services[0].Ports[0].Endpoints, netproxy.Endpoint{Address: netip.MustParseAddrPort(e), Ready: true})
	}
	return t
}

// backend is a server; its address is host:port.
func backend(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func front(t *testing.T, p *Proxy) *httptest.Server {
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ask(t *testing.T, method, url, host, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(b)), res.Header
}

func TestRequestsArriveAsTheyWereSent(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s for=%s proto=%s host=%s body=%s", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Forwarded-For"),
			r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), b)
	})
	s := front(t, proxyFor([]string{at}, ingressOf("in", 0, "h / Prefix a")))
	code, got, _ := ask(t, "POST", s.URL+"/x%2Fy?q=1;2&z", "h:81", "hello", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https")
	if want := "POST h:81 /x%2Fy?q=1;2&z for=127.0.0.1 proto=http host=h:81 body=hello"; code != 200 || got != want {
		t.Errorf("%d\n%s\nwant\n%s", code, got, want)
	}
	if code, _, _ := ask(t, "GET", s.URL, "other", ""); code != http.StatusNotFound {
		t.Errorf("a host without a rule: %d", code)
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		if r.URL.Path == "/drip" { // a response that has begun may take its time
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			time.Sleep(2500 * time.Millisecond)
		}
		_, _ = io.Copy(w, r.Body)
	})
	defer close(release)
	in := ingressOf("in", 0, "h / Prefix a")
	in.Annotations = map[string]string{api.IngressTimeout: "2s", api.IngressBodyMax: "10"}
	secure := ingressOf("secure", 0, "s / Prefix a")
	secure.Annotations = map[string]string{api.IngressRedirect: "true"}
	s := front(t, proxyFor([]string{at}, in, secure))
	for _, c := range []struct {
		path, host, body string
		want             int
	}{
		{"/", "h", "0123456789", 200},
		{"/", "h", "0123456789A", 413},
		{"/slow", "h", "", 504},
		{"/drip", "h", "", 200},
	} {
		if code, text, _ := ask(t, "POST", s.URL+c.path, c.host, c.body); code != c.want {
			t.Errorf("%s with %q: %d %s, want %d", c.path, c.body, code, text, c.want)
		}
	}
	code, _, header := ask(t, "GET", s.URL+"/p?q=1", "s:80", "")
	if code != http.StatusPermanentRedirect || header.Get("Location") != "https://s:8443/p?q=1" {
		t.Errorf("%d to %q", code, header.Get("Location"))
	}
}

// A client that takes its time is no slow backend.
func TestLongUpload(t *testing.T) {
	t.Parallel()
	at := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	in := ingressOf("in", 0, "h / Prefix a")
	in.Annotations = map[string]string{api.IngressTimeout: "2s"}
	s := front(t, proxyFor([]string{at}, in))
	body, writer := io.Pipe()
	go func() {
		for range 8 {
			fmt.Fprint(writer, "x")
			time.Sleep(350 * time.Millisecond)
		}
		_ = writer.Close()
	}()
	r, _ := http.NewRequest("POST", s.URL, body)
	r.Host = "h"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(b) != "xxxxxxxx" {
		t.Errorf("%s %s %v", res.Status, b, err)
	}
}

// A body whose length nobody said must not pass the limit either.
func TestLongBodyOfUnknownLength(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	in := ingressOf("in", 0, "h / Prefix a")
	in.Annotations = map[string]string{api.IngressBodyMax: "10"}
	s := front(t, proxyFor([]string{at}, in))
	r, _ := http.NewRequest("POST", s.URL, io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("0123456789")))
	r.Host = "h"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Error(res.Status)
	}
}

// Invariant 150: a request that never reached an endpoint goes to another one, whatever it is.
func TestAnotherEndpointIsTried(t *testing.T) {
	var hits atomic.Int64
	good := backend(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = io.Copy(w, r.Body)
	})
	p := proxyFor([]string{closedPort(t), good, closedPort(t)}, ingressOf("in", 0, "h / Prefix a"))
	s := front(t, p)
	for range 30 {
		if code, body, _ := ask(t, "POST", s.URL, "h", "hello"); code != 200 || body != "hello" {
			t.Fatalf("%d %s", code, body)
		}
	}
	if hits.Load() != 30 {
		t.Errorf("%d requests arrived of 30", hits.Load())
	}
	p.Swap(tableTo(closedPort(t)))
	if code, _, _ := ask(t, "GET", s.URL, "h", ""); code != http.StatusBadGateway {
		t.Errorf("an endpoint that is gone: %d", code)
	}
	p.Swap(tableTo())
	if code, _, _ := ask(t, "GET", s.URL, "h", ""); code != http.StatusServiceUnavailable {
		t.Errorf("without endpoints: %d", code)
	}
}

// Invariant 150: what may have been carried out is not repeated, unless it changes nothing.
func TestOnlySafeRequestsAreRepeated(t *testing.T) {
	var broken atomic.Int64
	bad := backend(t, func(w http.ResponseWriter, r *http.Request) {
		broken.Add(1)
		c, _, _ := w.(http.Hijacker).Hijack()
		_ = c.Close()
	})
	good := backend(t, func(w http.ResponseWriter, r *http.Request) {})
	s := front(t, proxyFor([]string{bad, good}, ingressOf("in", 0, "h / Prefix a")))
	for range 20 {
		if code, _, _ := ask(t, "GET", s.URL, "h", ""); code != 200 {
			t.Fatalf("GET: %d", code)
		}
	}
	broken.Store(0)
	failed := int64(0)
	for range 20 {
		if code, _, _ := ask(t, "POST", s.URL, "h", "x"); code == http.StatusBadGateway {
			failed++
		}
	}
	if failed != broken.Load() || failed == 0 {
		t.Errorf("%d of the requests that broke were told to have failed, of %d", failed, broken.Load())
	}
}

func TestUpgrade(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := rw.ReadString('\n')
		fmt.Fprint(c, strings.ToUpper(line))
	})
	p := proxyFor([]string{at}, ingressOf("in", 0, "h / Prefix a"))
	s := front(t, p)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", res, err)
	}
	fmt.Fprint(c, "hello\n")
	if line, err := in.ReadString('\n'); line != "HELLO\n" {
		t.Errorf("%q %v", line, err)
	}
}

// secretFor makes a certificate for hosts as a Secret has it.
func secretFor(t *testing.T, n string, hosts ...string) *corev1.Secret {
	c, err := selfSigned(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: n}, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}}
}

// running starts the ports as a node does.
func running(t *testing.T, p *Proxy) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func port(t *testing.T) int { return int(netip.MustParseAddrPort(closedPort(t)).Port()) }

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestTLS(t *testing.T) {
	at := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	in := ingressOf("in", 0, "one.example / Prefix a", "x.two.example / Prefix a", "three.example / Prefix a")
	bare := ingressOf("bare", 1, "default a")
	bare.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "any"}}
	in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"one.example"}, SecretName: "one"}, {Hosts: []string{"*.two.example"}, SecretName: "two"},
		{Hosts: []string{"three.example"}, SecretName: "none"}}
	p := proxyFor([]string{at}, in)
	p.cfg.HTTPSPort = port(t)
	for _, s := range []*corev1.Secret{secretFor(t, "one", "one.example"), secretFor(t, "two", "*.two.example")} {
		if err := p.PutSecret(s); err != nil {
			t.Fatal(err)
		}
	}
	p.Swap(tableTo(at))
	running(t, p)
	address := fmt.Sprintf("127.0.0.1:%d", p.cfg.HTTPSPort)
	shown := func(host string) string {
		c, err := tls.Dial("tcp", address, &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String() + " " + fmt.Sprint(c.ConnectionState().PeerCertificates[0].DNSNames)
	}
	eventually(t, "the port is not open", func() bool { return !strings.Contains(shown("one.example"), "refused") })
	for host, want := range map[string]string{"one.example": "[one.example]", "x.two.example": "[*.two.example]", "three.example": "[ingress.invalid]", "": "[ingress.invalid]"} {
		if got := shown(host); !strings.HasSuffix(got, want) {
			t.Errorf("%s is shown %s, want %s", host, got, want)
		}
	}
	before := shown("one.example")
	p.PutIngress(bare) // whose certificate names no hosts, nor do its rules
	if err := p.PutSecret(secretFor(t, "any", "any.example")); err != nil {
		t.Fatal(err)
	}
	p.Swap(tableTo(at))
	for host, want := range map[string]string{"one.example": "[one.example]", "three.example": "[any.example]", "elsewhere.example": "[any.example]", "": "[any.example]"} {
		if got := shown(host); !strings.HasSuffix(got, want) {
			t.Errorf("with a certificate for any host %s is shown %s, want %s", host, got, want)
		}
	}
	if err := p.PutSecret(secretFor(t, "one", "one.example")); err != nil {
		t.Fatal(err)
	}
	p.Swap(tableTo(at))
	if shown("one.example") == before {
		t.Error("the old certificate is shown after the Secret has changed")
	}
	if err := p.PutSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "one"}}); err == nil {
		t.Error("a Secret without a certificate is one")
	}
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "one.example"}}}
	defer client.CloseIdleConnections()
	r, _ := http.NewRequest("GET", "https://"+address, nil)
	r.Host = "one.example"
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.ProtoMajor != 2 || string(b) != "https" {
		t.Errorf("%s %s", res.Proto, b)
	}
}

// Invariant 151: the ports belong to others while there is nothing to serve.
func TestPortsAreOpenOnlyWhenUsed(t *testing.T) {
	at := backend(t, func(http.ResponseWriter, *http.Request) {})
	p := proxyFor([]string{at})
	p.cfg.HTTPPort, p.cfg.HTTPSPort = port(t), 0
	running(t, p)
	address := fmt.Sprintf("127.0.0.1:%d", p.cfg.HTTPPort)
	open := func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	if open() {
		t.Error("the port is open without an ingress")
	}
	p.PutIngress(ingressOf("in", 0, "h / Prefix a"))
	p.Swap(tableTo(at))
	eventually(t, "the port does not open", open)
	p.Begin() // what was known stays in force
	p.Swap(tableTo(at))
	if !open() {
		t.Error("the port closes while the watch starts over")
	}
	p.Synced()
	p.Swap(tableTo(at))
	eventually(t, "the port does not close", func() bool { return !open() })
}
