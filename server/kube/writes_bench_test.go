package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/peapod-sh/peapod/server/kube"
)

const (
	benchWidgets = "/apis/shop.example/v1/namespaces/default/widgets"
	benchMaps    = "/api/v1/namespaces/default/configmaps"
)

// benchWrite is a request of which only the object's name changes.
type benchWrite struct {
	name, method, path, contentType, body string
	made                                  string // the body of a creation that comes first and does not count; may be empty
}

// BenchmarkWrites writes custom resources beside ConfigMaps of 1 KiB, without a socket and over a store in memory, and prints the processor time
// of each. To compare two builds, interleave their runs.
func BenchmarkWrites(b *testing.B) {
	admin := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
	})
	h := start(b, func(c *kube.Config) { c.Authenticators = []authenticator.Request{admin} })
	h.define(definition(b, widgets))
	time.Sleep(3 * time.Second) // until it is established for everybody
	value := strings.Repeat("x", 1024)
	configMap := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"value":"` + value + `"}}`
	widget := `{"apiVersion":"shop.example/v1","kind":"Widget","metadata":{"name":%q},"spec":{"color":"` + value + `","replicas":1}}`
	const merge, apply = "application/merge-patch+json", "application/apply-patch+yaml"
	for _, w := range []benchWrite{
		{"create/configmap", "POST", benchMaps, asJSON, configMap, ""},
		{"create/custom", "POST", benchWidgets, asJSON, widget, ""},
		{"update/configmap", "PUT", benchMaps, asJSON, strings.Replace(configMap, "xx", "yx", 1), configMap},
		{"update/custom", "PUT", benchWidgets, asJSON, strings.Replace(widget, "xx", "yx", 1), widget},
		{"patch/configmap", "PATCH", benchMaps, merge, `{"data":{"n":%q}}`, configMap},
		{"patch/custom", "PATCH", benchWidgets, merge, `{"spec":{"replicas":7,"color":%q}}`, widget},
		{"apply/configmap", "PATCH", benchMaps, apply, configMap, ""},
		{"apply/custom", "PATCH", benchWidgets, apply, widget, ""},
	} {
		b.Run(w.name, func(b *testing.B) { h.benchWrite(b, w) })
	}
}

var benchRuns int

func (h *harness) benchWrite(b *testing.B, w benchWrite) {
	benchRuns++
	run := benchRuns
	handler := h.server.Handler()
	ask := func(method, path, contentType, body string, n int) {
		name := fmt.Sprintf("b%d-%d", run, n)
		body = fmt.Sprintf(body, name)
		if method == "PUT" { // an update says on which revision it is made
			r := httptest.NewRecorder()
			handler.ServeHTTP(r, request("GET", path+"/"+name, asJSON, asJSON, nil))
			_, rest, _ := strings.Cut(r.Body.String(), `"resourceVersion":"`)
			revision, _, _ := strings.Cut(rest, `"`)
			body = strings.Replace(body, `"metadata":{`, `"metadata":{"resourceVersion":"`+revision+`",`, 1)
		}
		if method != "POST" {
			path += "/" + name + "?fieldManager=bench"
		}
		r := request(method, path, contentType, asJSON, []byte(body))
		r.Header.Set("User-Agent", "bench")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r.WithContext(context.Background()))
		if answer.Code >= http.StatusMultipleChoices {
			b.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
		}
	}
	if w.made != "" {
		for n := range b.N {
			ask("POST", w.path, asJSON, w.made, n)
		}
	}
	b.ResetTimer()
	b.ReportAllocs()
	before := processorMicroseconds()
	for n := range b.N {
		ask(w.method, w.path, w.contentType, w.body, n)
	}
	b.ReportMetric((processorMicroseconds()-before)/float64(b.N), "cpu-us/op")
}

func processorMicroseconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for nobody who asks about themself
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}
