package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bodyMax is how much of an answer is read.
const bodyMax = 10 << 10

// Client makes the requests of probes and hooks: a connection each, no proxy, certificates unchecked (a
// probe asks whether the container answers, not who it is).
var Client = &http.Client{
	Transport:     once{rest: transport()},
	CheckRedirect: sameHost,
}

func transport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, Proxy: nil,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see Client
		DialContext:     (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
	}
}

// sameHost follows redirects within a host; one that leads elsewhere is an answer by itself.
func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return fmt.Errorf("stopped after %d redirects", len(via))
	}
	return nil
}

// grpcClient speaks HTTP/2 without TLS, which is all that a gRPC health check needs.
var grpcClient = func() *http.Client {
	t := transport()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: t}
}()

func ask(ctx context.Context, t *Target, exec Exec) (ok bool, message string) {
	switch h := t.Probe.ProbeHandler; {
	case h.Exec != nil:
		return askExec(ctx, t, exec, h.Exec)
	case h.HTTPGet != nil:
		return askHTTP(ctx, t, h.HTTPGet)
	case h.TCPSocket != nil:
		return askTCP(ctx, t, h.TCPSocket)
	case h.GRPC != nil:
		return askGRPC(ctx, t, h.GRPC)
	}
	return true, ""
}

func askExec(ctx context.Context, t *Target, exec Exec, e *corev1.ExecAction) (bool, string) {
	code, out, err := exec(ctx, t.ContainerID, e.Command)
	switch {
	case ctx.Err() != nil:
		return false, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(e.Command, " "), timeout(t.Probe))
	case err != nil:
		return false, err.Error()
	}
	return code == 0, out
}

func askHTTP(ctx context.Context, t *Target, g *corev1.HTTPGetAction) (bool, string) {
	port, err := Port(g.Port, t.Ports)
	if err != nil {
		return false, err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, URL(g.Scheme, address(g.Host, t, port), g.Path), nil)
	if err != nil {
		return false, err.Error()
	}
	SetHeaders(req, g.HTTPHeaders)
	resp, err := Client.Do(req)
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, bodyMax)) // the status has decided already
	if resp.StatusCode >= 200 && resp.StatusCode < 400 {
		return true, ""
	}
	return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)
}

// URL joins what an HTTPGetAction says; the path may have a query.
func URL(scheme corev1.URIScheme, hostport, path string) string {
	s := "http"
	if scheme == corev1.URISchemeHTTPS {
		s = "https"
	}
	return s + "://" + hostport + "/" + strings.TrimPrefix(path, "/")
}

// SetHeaders adds an action's headers and the ones that every probe has.
func SetHeaders(req *http.Request, list []corev1.HTTPHeader) {
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for _, h := range list {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
			continue
		}
		if strings.EqualFold(h.Name, "user-agent") || strings.EqualFold(h.Name, "accept") {
			req.Header.Set(h.Name, h.Value)
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
}

func askTCP(ctx context.Context, t *Target, s *corev1.TCPSocketAction) (bool, string) {
	port, err := Port(s.Port, t.Ports)
	if err != nil {
		return false, err.Error()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(s.Host, t, port))
	if err != nil {
		return false, err.Error()
	}
	conn.Close()
	return true, ""
}

// askGRPC calls grpc.health.v1.Health/Check by hand: the request is one string, the answer one number.
func askGRPC(ctx context.Context, t *Target, g *corev1.GRPCAction) (bool, string) {
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	url := "http://" + address("", t, int(g.Port)) + "/grpc.health.v1.Health/Check"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(grpcFrame(service)))
	if err != nil {
		return false, err.Error()
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set("User-Agent", "kube-probe/1.37")
	resp, err := grpcClient.Do(req)
	if err != nil {
		return false, fmt.Sprintf("timeout: failed to connect service %q within %s: %v", req.URL.Host, timeout(t.Probe), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	if err != nil {
		return false, err.Error()
	}
	status := resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status")
	if status != "" && status != "0" {
		return false, fmt.Sprintf("rpc error: code = %s desc = %s", status, resp.Trailer.Get("Grpc-Message")+resp.Header.Get("Grpc-Message"))
	}
	if serving(body) {
		return true, ""
	}
	return false, "service unhealthy (responded with a status that is not SERVING)"
}

// grpcFrame is a HealthCheckRequest: field 1 is the service's name.
func grpcFrame(service string) []byte {
	var msg []byte
	if service != "" {
		msg = append([]byte{0x0a}, binary.AppendUvarint(nil, uint64(len(service)))...)
		msg = append(msg, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg)))
	return append(frame, msg...)
}

// serving reads a HealthCheckResponse: field 1 is 1 if the service serves.
func serving(frame []byte) bool {
	return len(frame) >= 7 && frame[0] == 0 && frame[5] == 0x08 && frame[6] == 1
}

func address(host string, t *Target, port int) string {
	if host == "" {
		host = t.Host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Port finds a port by number or by its name among the container's.
func Port(p intstr.IntOrString, ports []corev1.ContainerPort) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for _, c := range ports {
		if c.Name == p.StrVal {
			return int(c.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil && n > 0 && n < 65536 {
		return n, nil
	}
	return 0, fmt.Errorf("the container has no port named %q", p.StrVal)
}
