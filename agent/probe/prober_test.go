package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		name             string
		kind             Kind
		failure, success int32
		answers          string // y or n, one a period
		verdicts         string // what is decided: + - or .
	}{
		{"ready at once, unready after three", Readiness, 3, 1, "ynnnny", "+..-.+"},
		{"ready after two in a row", Readiness, 1, 2, "ynyyn", ".-.+-"},
		{"a failure between", Readiness, 3, 1, "ynnynnn", "+.....-"},
		{"liveness", Liveness, 2, 1, "ynynn", "+...-"},
		{"startup", Startup, 3, 1, "nny", "..+"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pr := &probing{Target: Target{Kind: c.kind, Probe: &corev1.Probe{FailureThreshold: c.failure, SuccessThreshold: c.success}}}
			got := ""
			for _, a := range c.answers {
				switch verdict := pr.count(a == 'y'); {
				case !verdict:
					got += "."
				case a == 'y':
					got += "+"
				default:
					got += "-"
				}
			}
			if got != c.verdicts {
				t.Errorf("got %s, want %s", got, c.verdicts)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var asked []string
		exec := func(ctx context.Context, id string, args []string) (int, string, error) {
			mu.Lock()
			asked = append(asked, fmt.Sprintf("%s@%d", id, int(time.Since(begin).Seconds())))
			mu.Unlock()
			if args[0] == "hang" {
				<-ctx.Done()
				return 0, "", ctx.Err()
			}
			return 0, "", nil
		}
		var reports []Report
		p := New(exec, func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, r)
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		target := func(id, cmd string, delay, period int32) Target {
			return Target{PodUID: id, Container: "c", ContainerID: id, Kind: Readiness, Started: begin, Probe: &corev1.Probe{
				InitialDelaySeconds: delay, PeriodSeconds: period, TimeoutSeconds: 2,
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}}}
		}
		p.Add(target("a", "ok", 3, 5))
		p.Add(target("b", "hang", 0, 10))
		time.Sleep(14*time.Second + 1)
		synctest.Wait()
		p.RemovePod("a")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		cancel()
		<-done
		if got, want := strings.Join(asked, " "), "b@0 a@3 a@8 b@10 a@13 b@20 b@30"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		if len(reports) == 0 || !strings.Contains(reports[0].Message, "timed out") {
			t.Errorf("reports %+v", reports)
		}
	})
}

func TestHandlers(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" || r.Host == "wrong" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().(*net.TCPAddr)
	grpc := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, 1})
		w.Header().Set("Grpc-Status", "0")
	}))
	grpc.Config.Protocols = new(http.Protocols)
	grpc.Config.Protocols.SetUnencryptedHTTP2(true)
	grpc.Start()
	defer grpc.Close()
	named := []corev1.ContainerPort{{Name: "web", ContainerPort: int32(addr.Port)}}
	get := func(path string, h ...corev1.HTTPHeader) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("web"), HTTPHeaders: h}}
	}
	for _, c := range []struct {
		name    string
		h       corev1.ProbeHandler
		ok      bool
		message string
	}{
		{"http", get("/x?y=1"), true, ""},
		{"http 500", get("/bad"), false, "HTTP probe failed with statuscode: 500"},
		{"host header", get("/", corev1.HTTPHeader{Name: "Host", Value: "wrong"}), false, "500"},
		{"tcp", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(addr.Port))}}, true, ""},
		{"tcp refused", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}, false, "refused"},
		{"no such port", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("no")}}, false, "no port named"},
		{"grpc", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(grpc.Listener.Addr().(*net.TCPAddr).Port)}}, true, ""},
		{"grpc refused", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 1}}, false, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok, message := ask(context.Background(), &Target{Host: "127.0.0.1", Ports: named, Probe: &corev1.Probe{ProbeHandler: c.h}}, nil)
			if ok != c.ok || !strings.Contains(message, c.message) {
				t.Errorf("got %v %q", ok, message)
			}
		})
	}
}
