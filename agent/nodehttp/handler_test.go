package nodehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/usage"
)

// fakeNode has one pod with one container.
type fakeNode struct {
	mu  sync.Mutex
	pod *corev1.Pod
	dir string
}

func newNode(t *testing.T) *fakeNode {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
	p.Status.PodIP = "127.0.0.1"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "peapod://id1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return &fakeNode{pod: p, dir: t.TempDir()}
}

func (n *fakeNode) Pods() []*corev1.Pod { return []*corev1.Pod{n.Pod("default", "web")} }

func (n *fakeNode) Usage() *usage.Meter {
	return usage.New(usage.Config{Node: "n1", Pods: n.Pods, Stats: func(context.Context, string) (runtime.PodStats, error) {
		u := runtime.Usage{Time: time.Now(), CPUNanos: 5e9, WorkingSetBytes: 1 << 20}
		return runtime.PodStats{Usage: u, Containers: map[string]runtime.Usage{"id1": u}}, nil
	}})
}

func TestUsageOfTheNodesPods(t *testing.T) {
	s := httptest.NewServer(New(newNode(t)))
	defer s.Close()
	get := func(path string) []byte {
		t.Helper()
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return b
	}
	var pods metricsv1beta1.PodMetricsList
	if err := pods.Unmarshal(get("/usage?namespace=default")); err != nil || len(pods.Items) != 1 || pods.Items[0].Containers[0].Usage.Memory().Value() != 1<<20 {
		t.Errorf("the pods use %+v, %v", pods.Items, err)
	}
	if err := pods.Unmarshal(get("/usage?namespace=other")); err != nil || len(pods.Items) != 1 { // Unmarshal appends: nothing came
		t.Errorf("another namespace's pods are %+v, %v", pods.Items, err)
	}
	var node metricsv1beta1.NodeMetrics
	if err := node.Unmarshal(get("/usage/node")); err != nil || node.Name != "n1" || node.Usage.Memory().IsZero() {
		t.Errorf("the node uses %+v, %v", node, err)
	}
	if b := get("/stats/summary"); !strings.Contains(string(b), `"podRef":{"name":"web","namespace":"default","uid":"u"}`) {
		t.Errorf("the summary is %s", b)
	}
	if b := get("/metrics/resource"); !strings.Contains(string(b), `container_cpu_usage_seconds_total{container="c",namespace="default",pod="web"} 5 `) {
		t.Errorf("the metrics are %s", b)
	}
}

func (n *fakeNode) Pod(namespace, name string) *corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	if namespace != "default" || name != "web" {
		return nil
	}
	return n.pod
}

func (n *fakeNode) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pod = n.pod.DeepCopy()
	n.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
}

func (n *fakeNode) LogFile(_ *corev1.Pod, container string, previous bool) (string, error) {
	if previous {
		return "", errors.New("previous terminated container not found")
	}
	return filepath.Join(n.dir, "0.log"), nil
}

func (n *fakeNode) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (int, error) {
	switch spec.Args[0] {
	case "cat":
		_, err := io.Copy(spec.Stdout, spec.Stdin)
		return 0, err
	case "fail":
		fmt.Fprint(spec.Stderr, "oops")
		return 7, nil
	}
	fmt.Fprintf(spec.Stdout, "%s %v", id, spec.Args)
	return 0, nil
}

func line(second int, stream, tag, text string) string {
	return fmt.Sprintf("2026-01-01T00:00:%02d.000000000Z %s %s %s\n", second, stream, tag, text)
}

func (n *fakeNode) write(t *testing.T, name, content string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(n.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func TestLogs(t *testing.T) {
	n := newNode(t)
	n.write(t, "0.log.2", line(1, "stdout", "F", "one")+line(2, "stderr", "F", "two"))
	n.write(t, "0.log.1", line(3, "stdout", "P", "thr")+line(3, "stdout", "F", "ee"))
	n.write(t, "0.log", line(4, "stdout", "F", "four")+line(5, "stdout", "F", "")+"2026-01-01T00:00:06Z stdout F unfinis")
	srv := httptest.NewServer(New(n))
	defer srv.Close()
	for query, want := range map[string]string{
		"":                               "one\ntwo\nthree\nfour\n\n",
		"tailLines=0":                    "",
		"tailLines=1":                    "\n",
		"tailLines=2":                    "four\n\n",
		"tailLines=3":                    "three\nfour\n\n",
		"tailLines=4":                    "two\nthree\nfour\n\n",
		"tailLines=100":                  "one\ntwo\nthree\nfour\n\n",
		"limitBytes=6":                   "one\ntw",
		"sinceTime=2026-01-01T00:00:03Z": "three\nfour\n\n",
		"stream=Stderr":                  "two\n",
		"timestamps=true&tailLines=3":    "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z four\n2026-01-01T00:00:05.000000000Z \n",
	} {
		code, got := get(t, srv.URL+"/logs/default/web/c?"+query)
		if code != http.StatusOK || got != want {
			t.Errorf("%q: %d %q, want %q", query, code, got, want)
		}
	}
	for path, want := range map[string]int{
		"/logs/default/no/c": 404, "/logs/default/web/c?tailLines=x": 400, "/logs/default/web/c?previous=true": 400, "/pods": 200,
	} {
		if code, _ := get(t, srv.URL+path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestFollowAcrossRotation(t *testing.T) {
	n := newNode(t)
	n.write(t, "0.log", line(1, "stdout", "F", "one"))
	srv := httptest.NewServer(New(n))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/logs/default/web/c?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	expect := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != want {
			t.Fatalf("got %q, %v, want %q", b, err, want)
		}
	}
	expect("one\n")
	n.write(t, "0.log", line(2, "stdout", "F", "two"))
	expect("two\n")
	if err := os.Rename(filepath.Join(n.dir, "0.log"), filepath.Join(n.dir, "0.log.1")); err != nil {
		t.Fatal(err)
	}
	n.write(t, "0.log.1", line(3, "stdout", "F", "late")) // the writer has not opened the new file yet
	n.write(t, "0.log", line(4, "stdout", "F", "new"))
	expect("late\nnew\n")
	n.end()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestExec(t *testing.T) {
	srv := httptest.NewServer(New(newNode(t)))
	defer srv.Close()
	run := func(stdin io.Reader, args ...string) (string, string, error) {
		q := url.Values{"command": args, "stdout": {"true"}, "stderr": {"true"}}
		if stdin != nil {
			q.Set("stdin", "true")
		}
		u, err := url.Parse(srv.URL + "/exec/default/web/c?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		ex, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: srv.URL}, "POST", u)
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err = ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errOut})
		return out.String(), errOut.String(), err
	}
	if out, _, err := run(nil, "echo", "x y"); err != nil || out != "id1 [echo x y]" {
		t.Errorf("echo: %q, %v", out, err)
	}
	if out, _, err := run(strings.NewReader("hello"), "cat"); err != nil || out != "hello" {
		t.Errorf("cat: %q, %v", out, err)
	}
	_, errOut, err := run(nil, "fail")
	var exit utilexec.CodeExitError
	if errOut != "oops" || !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("fail: %q, %v", errOut, err)
	}
}

// readingNode is a node whose container reads its input to the end, logs it, and ends.
type readingNode struct {
	*fakeNode
	held *os.File // the end of the pipe that outlives the clients
}

func newReadingNode(t *testing.T) *readingNode {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	n := &readingNode{newNode(t), w}
	n.pod.Spec.Containers = []corev1.Container{{Name: "c", Stdin: true, StdinOnce: true}}
	n.write(t, "0.log", line(1, "stdout", "F", "before"))
	go func() {
		b, _ := io.ReadAll(r)
		n.write(t, "0.log", line(2, "stdout", "F", "read "+string(b)))
		n.end()
	}()
	return n
}

func (n *readingNode) Stdin(context.Context, string) (*os.File, error) {
	fd, err := unix.Dup(int(n.held.Fd()))
	return os.NewFile(uintptr(fd), "stdin"), err
}

func (n *readingNode) CloseStdin(context.Context, string) error { return n.held.Close() }

func TestAttachEndsInputOnce(t *testing.T) {
	srv := httptest.NewServer(New(newReadingNode(t)))
	defer srv.Close()
	u, err := url.Parse(srv.URL + "/attach/default/web/c?stdin=true&stdout=true")
	if err != nil {
		t.Fatal(err)
	}
	ex, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: srv.URL}, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &out})
	if err != nil || out.String() != "read typed\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestPortForward(t *testing.T) {
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	go http.Serve(back, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from the pod") })) //nolint:errcheck // ends with the listener
	srv := httptest.NewServer(New(newNode(t)))
	defer srv.Close()
	rt, up, err := spdy.RoundTripperFor(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(srv.URL + "/portforward/default/web")
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	fw, err := portforward.NewOnAddresses(spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", u), []string{"127.0.0.1"},
		[]string{fmt.Sprintf("0:%d", back.Addr().(*net.TCPAddr).Port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- fw.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := fw.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	if _, got := get(t, fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local)); got != "from the pod" {
		t.Errorf("got %q", got)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
