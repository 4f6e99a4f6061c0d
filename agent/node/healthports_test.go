package node

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/services"
)

func TestHealthPorts(t *testing.T) {
	h := newHealthPorts(hclog.NewNullLogger())
	defer h.follow(nil)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	check := []services.HealthCheck{{Namespace: "default", Name: "web", Port: uint16(port), LocalEndpoints: 2}}
	h.follow(check) // somebody else has the port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	h.follow(check)
	ask := func() (int, string, string, error) {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			return 0, "", "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return r.StatusCode, r.Header.Get("X-Load-Balancing-Endpoint-Weight"), strings.TrimSpace(string(b)), err
	}
	for n, want := range map[int]int{2: http.StatusOK, 0: http.StatusServiceUnavailable} {
		h.follow([]services.HealthCheck{{Namespace: "default", Name: "web", Port: uint16(port), LocalEndpoints: n}})
		body := fmt.Sprintf(`{"service":{"namespace":"default","name":"web"},"localEndpoints":%d,"serviceProxyHealthy":true}`, n)
		if status, weight, text, err := ask(); err != nil || status != want || weight != fmt.Sprint(n) || text != body {
			t.Errorf("%d endpoints: %d %q %s, %v", n, status, weight, text, err)
		}
	}
	h.follow(nil)
	if status, _, _, err := ask(); err == nil {
		t.Errorf("a port that no service has answers %d", status)
	}
}
