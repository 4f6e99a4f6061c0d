package droptest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

const replicas = 4

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "e2edrops", Servers: 1}) }

// The pods have no preStop hook: to wait for the services is the cluster's business.
const manifest = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: demo
        image: peapod/demo
        env: [{name: DEMO_QUIET, value: "1"}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
`

// site is a Deployment behind a service, with traffic: 2,000 requests/s over kept connections and 500 new connections/s, by the
// virtual address from one node and by the node port of another.
type site struct {
	lab     *kit.Lab
	k       kit.Kubectl
	traffic *traffic
}

func open(t *testing.T) *site {
	t.Helper()
	l := kit.Shared(t)
	s := &site{lab: l, k: l.Kubectl(l.MakeNamespace(t)), traffic: newTraffic(t.Context())}
	s.k.In(manifest).Must(t, "apply", "-f", "-")
	l.ReadyPods(t, s.k.Namespace, "app=web", replicas, limit)
	vip := s.field(t, "{.spec.clusterIP}")
	virtual := "http://" + vip + "/healthz"
	port := "http://" + l.Node(t, "client3").Address + ":" + s.field(t, "{.spec.ports[0].nodePort}") + "/healthz"
	near := l.Node(t, "client1").Namespace
	for netns, url := range map[string]string{near: virtual, "": port} {
		kit.Eventually(t, limit, url, func() error { _, err := kit.Curl(netns, url); return err })
		s.traffic.start(20, 20*time.Millisecond, netns, url, true)
		s.traffic.start(10, 40*time.Millisecond, netns, url, false)
	}
	s.flow(t)
	return s
}

func (s *site) field(t *testing.T, path string) string {
	t.Helper()
	return s.k.Must(t, "get", "service", "web", "-o", "jsonpath="+path)
}

// flow waits until a good many more requests were made.
func (s *site) flow(t *testing.T) {
	t.Helper()
	enough := s.traffic.requests.Load() + 1000
	kit.Eventually(t, limit, "traffic", func() error {
		if n := s.traffic.requests.Load(); n < enough {
			return fmt.Errorf("%d requests of %d", n, enough)
		}
		return nil
	})
}

// names of the pods that are there, with those that end.
func (s *site) names(t *testing.T) map[string]bool {
	t.Helper()
	list, err := s.lab.Client(t, "").CoreV1().Pods(s.k.Namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, p := range list.Items {
		out[p.Name] = true
	}
	return out
}

// settled waits until the pods of before are gone, and lets traffic flow on after it.
func (s *site) settled(t *testing.T, before map[string]bool) {
	t.Helper()
	kit.Eventually(t, limit, "the old pods to go", func() error {
		for name := range s.names(t) {
			if before[name] {
				return fmt.Errorf("%s is there", name)
			}
		}
		return nil
	})
	s.flow(t)
}

func TestRollingUpdateDropsNothing(t *testing.T) {
	s := open(t)
	for range 2 {
		before := s.names(t)
		s.k.Restart(t, "deployment/web")
		s.k.Must(t, "rollout", "status", "deployment/web", "--timeout=60s")
		s.settled(t, before)
	}
	s.traffic.stop(t)
}

// TestDeathLosesOnlyWhatWasOnItsWay: Invariant 152. A machine dies, and takes with it no more than the requests that its pods had.
func TestDeathLosesOnlyWhatWasOnItsWay(t *testing.T) {
	for _, death := range []struct{ do, undo string }{{"cut", "heal"}, {"kill", "restart"}} {
		t.Run(death.do, func(t *testing.T) {
			const node = "client2"
			s := open(t)
			if n := s.on(t, node); n == 0 || n == replicas {
				t.Fatalf("%d of %d pods are on %s: the test would show nothing", n, replicas, node)
			}
			s.lab.Do(t, death.do, node)
			defer s.revive(t, death.undo, node)
			kit.Eventually(t, limit, "other nodes to have all pods", func() error {
				if n := s.on(t, node); n > 0 {
					return fmt.Errorf("%d are still counted on %s", n, node)
				}
				return nil
			})
			s.flow(t)
			s.traffic.stopAfterDeath(t)
		})
	}
}

// on counts the ready pods on a node, once all are ready.
func (s *site) on(t *testing.T, node string) (n int) {
	t.Helper()
	for _, p := range s.lab.ReadyPods(t, s.k.Namespace, "app=web", replicas, limit) {
		if p.Spec.NodeName == node {
			n++
		}
	}
	return n
}

func (s *site) revive(t *testing.T, how, node string) {
	t.Helper()
	s.lab.Do(t, how, node)
	s.lab.Kubectl("").Must(t, "wait", "node/"+node, "--for=condition=Ready", "--timeout=60s")
}

func TestDrainDropsNothing(t *testing.T) {
	s := open(t)
	const node = "client2"
	before := map[string]bool{}
	for _, p := range s.lab.ReadyPods(t, s.k.Namespace, "app=web", replicas, limit) {
		if p.Spec.NodeName == node {
			before[p.Name] = true
		}
	}
	if len(before) == 0 || len(before) == replicas {
		t.Fatalf("%d of %d pods are on %s: the test would show nothing", len(before), replicas, node)
	}
	defer s.lab.Kubectl("").Must(t, "uncordon", node)
	out := s.lab.Kubectl("").Must(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
	if !strings.Contains(out, "drained") {
		t.Errorf("drain says %s", out)
	}
	s.settled(t, before)
	s.traffic.stop(t)
}
