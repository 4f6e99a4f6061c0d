package nodehttp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// FuzzRequest: no path and no query is the node's fault.
func FuzzRequest(f *testing.F) {
	for _, target := range []string{"/pods", "/logs/default/web/c?tailLines=3&timestamps=1&sinceTime=2026-01-01T00:00:00Z", "/logs/default/web/c?sinceSeconds=9223372036854775807",
		"/logs/default/..%2fweb/c?previous=true", "/exec/default/web/c?command=cat&output=1", "/attach/default/web/c?stdin=true&tty=1",
		"/portforward/default/web?ports=80&ports=x", "/portforward/default/web?port=99999999999", "//logs/./default/web", "/logs/default/web/c?limitBytes=-1"} {
		f.Add(false, target, "")
		f.Add(true, target, "SPDY/3.1")
	}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0.log"), []byte(line(1, "stdout", "F", "one")+line(2, "stderr", "P", "two")), 0o600); err != nil {
		f.Fatal(err)
	}
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name, pod.UID, pod.Status.PodIP = "default", "web", "u", "127.0.0.1"
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "peapod://id1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	h := New(&fakeNode{pod: pod, dir: dir})
	f.Fuzz(func(t *testing.T, post bool, target, upgrade string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		q := u.Query()
		if q.Del("follow"); strings.Contains(u.RawQuery, "follow") {
			u.RawQuery = q.Encode() // a log of a running container that is followed does not end
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r := (&http.Request{Method: map[bool]string{false: "GET", true: "POST"}[post], URL: u, Header: http.Header{}, Host: "n", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
		r.RequestURI = target
		if upgrade != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", upgrade)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		// A recorder cannot become a stream, which is the one fault that is the node's here.
		if w.Code >= 500 && !strings.Contains(w.Body.String(), "unable to upgrade") {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
	})
}

// FuzzLog: whatever is in a log's file, what is shown of it ends, is no more than there is, and keeps to the limit.
func FuzzLog(f *testing.F) {
	whole := line(1, "stdout", "F", "one") + line(2, "stderr", "P", "tw") + line(2, "stderr", "F", "o") + "torn"
	for _, query := range []string{"", "tailLines=1", "tailLines=0&stream=Stderr", "limitBytes=3&timestamps=1", "sinceTime=2026-01-01T00:00:02Z"} {
		f.Add([]byte(whole), query)
	}
	f.Add([]byte("a b\na b c\n\n   \nx y P\n"), "timestamps=true&tailLines=2")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q.Del("follow")
		o, err := parseLogOptions(&http.Request{URL: &url.URL{RawQuery: q.Encode()}}, time.Now())
		if err != nil {
			return
		}
		path := filepath.Join(dir, "0.log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		l := &logReader{opts: o, out: &b, err: &b, flush: func() {}, alive: func() bool { return false }}
		if err := l.read(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if b.Len() > len(content) || o.limit >= 0 && int64(b.Len()) > o.limit {
			t.Fatalf("%d bytes shown of %d, limit %d", b.Len(), len(content), o.limit)
		}
	})
}

// TestSinceLongAgo: more seconds than a duration holds are long ago, not soon.
func TestSinceLongAgo(t *testing.T) {
	now := time.Now()
	o, err := parseLogOptions(&http.Request{URL: &url.URL{RawQuery: "sinceSeconds=9223372036854775807"}}, now)
	if err != nil || !o.since.Before(now) {
		t.Fatalf("since %v, %v", o.since, err)
	}
}
