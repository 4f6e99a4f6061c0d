package lbtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestLoadBalancer: an address of the pool answers this machine, moves when its node dies, and is free when its service is gone.
func TestLoadBalancer(t *testing.T) {
	l, k := space(t)
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=LoadBalancer")
	ip, node := balancer(t, k, "web")
	if !strings.HasPrefix(ip, network(l)+".2") {
		t.Fatalf("%s is not of the pool", ip)
	}
	answers(t, "http://"+ip)
	kit.WantMatch(t, k.Must(t, "get", "svc", "web"), `LoadBalancer +10\.43\.[0-9.]+ +`+strings.ReplaceAll(ip, ".", `\.`)+` +80:`)
	kit.WantMatch(t, k.Must(t, "describe", "svc", "web"), "IPAllocated", "announced by node "+node)

	k.Must(t, "patch", "svc", "web", "-p", `{"spec":{"loadBalancerSourceRanges":["198.51.100.0/24"]}}`)
	silent(t, "http://"+ip)
	k.Must(t, "patch", "svc", "web", "-p", `{"spec":{"loadBalancerSourceRanges":["`+network(l)+`.0/24"]}}`)
	answers(t, "http://"+ip)

	if strings.HasPrefix(node, "client") {
		l.Do(t, "kill", node)
		kit.Eventually(t, limit, "another node announces", func() error {
			if _, now := balancer(t, k, "web"); now == node {
				return errors.New("the same")
			}
			return nil
		})
		answers(t, "http://"+ip)
		l.Do(t, "restart", node)
	}
	k.Must(t, "delete", "svc", "web")
	silent(t, "http://"+ip)
	kit.Eventually(t, limit, "no node keeps the address", func() error {
		for _, n := range l.Nodes {
			if out, _ := l.Exec(t, n.Name, "ip", "address"); strings.Contains(out, ip+"/") {
				return fmt.Errorf("%s has it", n.Name)
			}
		}
		return nil
	})
}

// TestLocalPolicy: health checks say which nodes have endpoints, and a node port of one that has none refuses.
func TestLocalPolicy(t *testing.T) {
	l, k := space(t)
	k.Must(t, "scale", "deployment", "web", "--replicas=1")
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=LoadBalancer", "--overrides", `{"spec":{"externalTrafficPolicy":"Local"}}`)
	on := l.ReadyPods(t, k.Namespace, "app=web", 1, limit)[0].Spec.NodeName
	ip, _ := balancer(t, k, "web")
	answers(t, "http://"+ip)
	f := strings.Fields(k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.healthCheckNodePort} {.spec.ports[0].nodePort}"))
	for _, n := range []string{"client1", "client2"} {
		want := `"localEndpoints":0`
		if n == on {
			want = `"localEndpoints":1`
		}
		kit.Eventually(t, limit, "health of "+n, func() error {
			out, err := kit.Curl("", "http://"+l.Node(t, n).Address+":"+f[0])
			if err == nil && !strings.Contains(out, want) {
				err = errors.New(out)
			}
			return err
		})
		if url := "http://" + l.Node(t, n).Address + ":" + f[1]; n == on {
			answers(t, url)
		} else {
			silent(t, url)
		}
	}
}

// TestExternalAddress: an address that somebody routes to a node is answered by every node.
func TestExternalAddress(t *testing.T) {
	l, k := space(t)
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--external-ip=203.0.113.77")
	for _, n := range []string{"client1", "client2"} {
		kit.Eventually(t, limit, "from "+n, func() error {
			out, err := kit.Curl(l.Node(t, n).Namespace, "http://203.0.113.77")
			if err == nil && !strings.Contains(out, "web-") {
				err = errors.New(out)
			}
			return err
		})
	}
}

const byHand = `
apiVersion: v1
kind: Service
metadata: {name: byhand}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: byhand}
subsets: [{addresses: [{ip: IP}], ports: [{port: 8080}]}]
`

// TestMirroredEndpoints: a service without selector goes where people's own Endpoints say.
func TestMirroredEndpoints(t *testing.T) {
	l, k := space(t)
	pod := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)[0]
	k.In(strings.ReplaceAll(byHand, "IP", pod.Status.PodIP)).Must(t, "apply", "-f", "-")
	vip := k.Must(t, "get", "svc", "byhand", "-o", "jsonpath={.spec.clusterIP}")
	kit.Eventually(t, limit, "the service answers", func() error {
		out, err := kit.Curl(l.Node(t, "client1").Namespace, "http://"+vip)
		if err == nil && !strings.Contains(out, pod.Name) {
			err = errors.New(out)
		}
		return err
	})
	kit.WantMatch(t, k.Must(t, "get", "endpointslices", "-l", "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io"), "byhand-.*IPv4 +8080 +"+strings.ReplaceAll(pod.Status.PodIP, ".", `\.`))
	k.Must(t, "delete", "svc", "byhand")
	kit.Eventually(t, limit, "the mirror goes", func() error {
		if out := k.Must(t, "get", "endpointslices", "-o", "name"); strings.Contains(out, "byhand") {
			return errors.New(out)
		}
		return nil
	})
}
