package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	nodeportforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	noderemote "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/peapod-sh/peapod/server/kube"
)

// fakeNode is a node's HTTP handler with a shell that knows two commands, reached over TCP.
type fakeNode struct{ addr string }

func (n *fakeNode) DialNode(ctx context.Context, node string) (net.Conn, error) {
	if node != "node1" {
		return nil, errors.New("no such node")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", n.addr)
}

type codeExit int

func (c codeExit) Error() string   { return fmt.Sprintf("exit %d", int(c)) }
func (c codeExit) String() string  { return c.Error() }
func (c codeExit) Exited() bool    { return true }
func (c codeExit) ExitStatus() int { return int(c) }

func (n *fakeNode) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan noderemote.TerminalSize, _ time.Duration) error {
	switch cmd[0] {
	case "cat":
		_, err := io.Copy(out, in)
		return err
	case "false":
		fmt.Fprint(errOut, "no")
		return codeExit(3)
	}
	fmt.Fprint(out, strings.Join(cmd, " "))
	return nil
}

func (n *fakeNode) PortForward(_ context.Context, _, _ string, port int32, s io.ReadWriteCloser) error {
	defer s.Close()
	line := make([]byte, 5)
	if _, err := io.ReadFull(s, line); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s, "%s from %d", line, port)
	return err
}

func newFakeNode(t *testing.T) *fakeNode {
	n := &fakeNode{}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{ns}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		o, err := noderemote.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		noderemote.ServeExec(w, r, n, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], o, time.Minute, time.Minute, noderemote.SupportedStreamingProtocols)
	})
	mux.HandleFunc("/portforward/{ns}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		nodeportforward.ServePortForward(w, r, n, r.PathValue("pod"), "", nil, time.Minute, time.Minute, nodeportforward.SupportedProtocols)
	})
	mux.HandleFunc("/logs/{ns}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("previous") == "true" {
			http.Error(w, "no previous run", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "log of %s tail=%s\n", r.PathValue("container"), r.URL.Query().Get("tailLines"))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return n
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "peapod/demo"}}}}
}

func startWithPod(t *testing.T) *harness {
	h := start(t, func(c *kube.Config) { c.Nodes = newFakeNode(t) })
	if _, err := h.client.CoreV1().Pods("default").Create(context.Background(), pod("p", "node1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return h
}

// exec runs a command by both protocols and gives what came out.
func (h *harness) exec(webSocket bool, stdin io.Reader, command ...string) (stdout, stderr string, err error) {
	h.Helper()
	req := h.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	var e remotecommand.Executor
	if webSocket {
		e, err = remotecommand.NewWebSocketExecutor(h.config, "GET", req.URL().String())
	} else {
		e, err = remotecommand.NewSPDYExecutor(h.config, "POST", req.URL())
	}
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var o, eo bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &o, Stderr: &eo})
	return o.String(), eo.String(), err
}

func TestWire7ExecBySPDYAndWebSocketV5(t *testing.T) {
	h := startWithPod(t)
	for _, ws := range []bool{false, true} {
		t.Run(fmt.Sprintf("webSocket=%v", ws), func(t *testing.T) {
			out, _, err := h.exec(ws, nil, "echo", "a b", "c")
			if err != nil || out != "echo a b c" {
				t.Fatalf("%q, %v", out, err)
			}
			// The end of stdin must reach the process: cat ends by nothing else.
			out, _, err = h.exec(ws, strings.NewReader("from stdin"), "cat")
			if err != nil || out != "from stdin" {
				t.Fatalf("%q, %v", out, err)
			}
			_, errOut, err := h.exec(ws, nil, "false")
			var code exec.CodeExitError
			if !errors.As(err, &code) || code.Code != 3 || errOut != "no" {
				t.Fatalf("exit code: %v, stderr %q", err, errOut)
			}
		})
	}
}

func TestWire7PortForwardBySPDYAndTunnel(t *testing.T) {
	h := startWithPod(t)
	url := h.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("portforward").URL()
	tr, up, err := spdy.RoundTripperFor(h.config)
	if err != nil {
		t.Fatal(err)
	}
	bySPDY := spdy.NewDialer(up, &http.Client{Transport: tr}, "POST", url)
	byTunnel, err := portforward.NewSPDYOverWebsocketDialer(url, h.config)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]httpstream.Dialer{"spdy": bySPDY, "tunnel": byTunnel} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			pf, err := portforward.NewOnAddresses(d, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- pf.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			}
			ports, err := pf.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "hello")
			b, err := io.ReadAll(c)
			if string(b) != "hello from 8080" {
				t.Errorf("%q, %v", b, err)
			}
			c.Close()
			close(stop)
			<-done
		})
	}
}

func TestWire6PodLog(t *testing.T) {
	h := startWithPod(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	tail := int64(7)
	b, err := pods.GetLogs("p", &corev1.PodLogOptions{TailLines: &tail}).DoRaw(ctx)
	if err != nil || string(b) != "log of main tail=7\n" {
		t.Fatalf("%q, %v", b, err)
	}
	for _, c := range []struct {
		o    corev1.PodLogOptions
		want string
	}{
		{corev1.PodLogOptions{Container: "other"}, "container other is not valid"},
		{corev1.PodLogOptions{Previous: true}, "no previous run"},
	} {
		if _, err := pods.GetLogs("p", &c.o).Stream(ctx); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
