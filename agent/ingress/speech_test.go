package ingress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/peapod-sh/peapod/api"
)

func TestSpeechOf(t *testing.T) {
	for _, c := range []struct {
		annotation, app string
		want            speech
	}{
		{"", "", speech{}}, {"", "http", speech{}}, {"", "kubernetes.io/ws", speech{}}, {"", "example.com/own", speech{}},
		{"", "kubernetes.io/h2c", speech{http2: true}}, {"", "grpc", speech{http2: true}},
		{"", "https", speech{tls: true}}, {"", "HTTPS", speech{tls: true}}, {"", "kubernetes.io/wss", speech{tls: true}},
		{"grpcs", "", speech{tls: true, http2: true}}, {"http", "https", speech{}}, {"https", "kubernetes.io/h2c", speech{tls: true}},
	} {
		if got := speechOf(api.IngressOptions{Backend: c.annotation}, c.app); got != c.want {
			t.Errorf("%q and %q: %+v, want %+v", c.annotation, c.app, got, c.want)
		}
	}
}

// Backends are spoken to as their service or the ingress says, whatever the client speaks.
func TestBackendsAreSpokenToAsTheyWant(t *testing.T) {
	tell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.TLS != nil) })
	start := func(secure bool, set func(*http.Protocols)) string {
		s := httptest.NewUnstartedServer(tell)
		s.Config.Protocols = &http.Protocols{}
		set(s.Config.Protocols)
		if s.EnableHTTP2 = s.Config.Protocols.HTTP2(); secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	h2c := start(false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	secure := start(true, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) })
	plain := start(false, func(p *http.Protocols) { p.SetHTTP1(true) })
	for _, c := range []struct{ at, app, annotation, want string }{
		{plain, "", "", "HTTP/1.1 false"}, {h2c, "kubernetes.io/h2c", "", "HTTP/2.0 false"}, {h2c, "", "h2c", "HTTP/2.0 false"},
		{secure, "https", "", "HTTP/1.1 true"}, {secure, "", "grpcs", "HTTP/2.0 true"}, {plain, "https", "http", "HTTP/1.1 false"},
	} {
		in := ingressOf("in", 0, "default a")
		if c.annotation != "" {
			in.Annotations = map[string]string{api.IngressBackend: c.annotation}
		}
		p := proxyFor(nil, in)
		table := tableTo(c.at)
		table.Services[0].Ports[0].App = c.app
		p.Swap(table)
		if code, got, _ := ask(t, "GET", front(t, p).URL, "h", ""); code != 200 || got != c.want {
			t.Errorf("%q, %q: %d %s, want %s", c.app, c.annotation, code, got, c.want)
		}
		p.Swap(tableTo()) // so that its idle connections are closed before the backend is
	}
}

// gRPC needs HTTP/2 on both sides, bodies that flow while answers do, and trailers.
func TestRemoteProcedureCalls(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	states, backend := health.NewServer(), grpc.NewServer()
	states.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(backend, states)
	go func() { _ = backend.Serve(l) }()
	t.Cleanup(backend.Stop)

	p := proxyFor(nil, ingressOf("in", 0, "shop.example / Prefix a"))
	p.cfg.HTTPPort, p.cfg.HTTPSPort = port(t), 0
	table := tableTo(l.Addr().String())
	table.Services[0].Ports[0].App = "kubernetes.io/h2c"
	p.Swap(table)
	running(t, p)
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", p.cfg.HTTPPort), grpc.WithAuthority("shop.example"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stub := grpc_health_v1.NewHealthClient(conn)
	stream, err := stub.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "shop"}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		m, err := stream.Recv()
		if err != nil || m.Status != want {
			t.Fatalf("%v, %v; want %v", m, err, want)
		}
		states.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_NOT_SERVING) // the stream tells of it while it is open
	}
	if _, err := stub.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"}); err == nil || status.Code(err).String() != "NotFound" {
		t.Errorf("the status in the trailers: %v", err)
	}
}
