package nettest

import (
	"errors"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const sources = web + `
apiVersion: v1
kind: Service
metadata: {name: kept, annotations: {peapod.sh/keep-source: "true"}}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: spread}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

const refused = `
apiVersion: v1
kind: Service
metadata: {name: refused, annotations: {peapod.sh/keep-source: "true"}}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

const isolate = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-asker}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: asker}}}]}]}
`

const asker = `
apiVersion: v1
kind: Pod
metadata: {name: asker, labels: {app: asker}}
spec: {terminationGracePeriodSeconds: 1, nodeName: client1, containers: [{name: main, image: peapod/demo}]}
`

// TestSource: endpoints see pods by their own addresses where a service asks for that, on the same node and on another, and
// clients outside the cluster where the policy for them is Local.
func TestSource(t *testing.T) {
	l, k := up(t, "nettestsource", 2)
	k.In(sources+"---"+asker+"---"+strings.ReplaceAll(asker, "asker", "stranger")).Must(t, "apply", "-f", "-")
	pods := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
	me := l.ReadyPods(t, k.Namespace, "app=asker", 1, limit)[0]
	ask := func(t *testing.T, client string, get func() (string, error)) {
		t.Helper()
		everyPod(t, pods, "the service", func(corev1.Pod) string { return client + ":" }, get)
	}
	pod := func() (string, error) {
		r := k.Try("exec", "asker", "--", "wget", "-qO-", "-T", "5", "http://kept")
		if r.Code != 0 {
			return "", errors.New(r.Err)
		}
		return r.Out, nil
	}
	t.Run("pod", func(t *testing.T) { ask(t, me.Status.PodIP, pod) })
	t.Run("outside", func(t *testing.T) {
		port := k.Must(t, "get", "svc", "local", "-o", "jsonpath={.spec.ports[0].nodePort}")
		turn := 0
		ask(t, l.Subnet[:strings.LastIndex(l.Subnet, ".")]+".1", func() (string, error) {
			turn++
			return kit.Curl("", "http://"+net.JoinHostPort(l.Node(t, []string{"client1", "client2"}[turn%2]).Address, port))
		})
	})
	t.Run("not asked for", func(t *testing.T) {
		port := k.Must(t, "get", "svc", "spread", "-o", "jsonpath={.spec.ports[0].nodePort}")
		if out := says(t, "", "http://"+net.JoinHostPort(l.Node(t, "client1").Address, port), "client "); strings.Contains(out, "client      10.201.") {
			t.Errorf("the endpoint saw the client: %s", out)
		}
	})
	t.Run("routed", func(t *testing.T) { routed(t, l, k, pods) })
	t.Run("policy", func(t *testing.T) {
		k.In(isolate).Must(t, "apply", "-f", "-")
		ask(t, me.Status.PodIP, pod)
		kit.Eventually(t, limit, "others are kept out", func() error {
			if r := k.Try("exec", "stranger", "--", "wget", "-qO-", "-T", "2", "http://kept"); r.Code == 0 {
				return errors.New(r.Out)
			}
			return nil
		})
	})
	t.Run("refused", func(t *testing.T) {
		kit.WantMatch(t, k.In(refused).Fail(t, "apply", "-f", "-"), `keep-source.*can only be kept with spec.externalTrafficPolicy: Local`)
	})
	t.Run("nothing stays", func(t *testing.T) {
		k.Must(t, "delete", "svc", "kept", "local")
		kit.Eventually(t, limit, "the rule goes", func() error {
			if out, _ := l.Exec(t, "client1", "ip", "rule"); strings.Contains(out, "7112") {
				return errors.New(out)
			}
			return nil
		})
	})
}

// routed: a client outside the cluster that reaches a virtual address by way of a node is answered by both endpoints. That on the node sees the
// client; the other's answer would not come back by the node, so it sees that.
func routed(t *testing.T, l *kit.Lab, k kit.Kubectl, pods []corev1.Pod) {
	vip := k.Must(t, "get", "svc", "kept", "-o", "jsonpath={.spec.clusterIP}")
	if out, err := l.Exec(t, "server1", "ip", "route", "add", vip, "via", l.Node(t, "client1").Address); err != nil {
		t.Fatal(out)
	}
	client := func(p corev1.Pod) string {
		if p.Spec.NodeName == "client1" {
			return l.Node(t, "server1").Address + ":"
		}
		return "10.42."
	}
	everyPod(t, pods, "the address", client, func() (string, error) { return kit.Curl(l.Node(t, "server1").Namespace, "http://"+vip) })
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/api/v1/nodes/client1/proxy/services/"+k.Namespace+"/kept"), `"Unkept":[1-9]`)
}
