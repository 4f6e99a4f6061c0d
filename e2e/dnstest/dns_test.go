package dnstest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const node = "client1"

const manifest = `
apiVersion: v1
kind: Service
metadata: {name: pets}
spec: {clusterIP: None, selector: {app: pets}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pets}
spec:
  replicas: 2
  serviceName: pets
  selector: {matchLabels: {app: pets}}
  template:
    metadata: {labels: {app: pets}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: demo, image: peapod/demo}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: pets}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: portless}
spec: {clusterIP: None, selector: {app: pets}}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {type: ExternalName, externalName: www.example.org}
---
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: sql, port: 5432, protocol: TCP}]
endpoints:
- {addresses: [192.0.2.41], hostname: db-0, conditions: {ready: true}}
- {addresses: [192.0.2.42], conditions: {ready: false}}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  terminationGracePeriodSeconds: 0
  containers: [{name: demo, image: peapod/demo, command: [sleep, "100000"]}]
`

// TestNames: NW003 to NW009. What a pod is told about every kind of name, and that it is still told while no server runs, also by an
// agent that was started meanwhile.
func TestNames(t *testing.T) {
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	ns := l.Node(t, node).Namespace
	resolver(t, ns, usual, "192.0.2.80", "www.example.org.")
	resolver(t, ns, stub, "192.0.2.81", "git.corp.example.")
	k.In(manifest).Must(t, "apply", "-f", "-")
	pods := l.ReadyPods(t, k.Namespace, "app=pets", 2, limit)
	k.Must(t, "wait", "pod/host", "--for=condition=Ready", "--timeout=60s")
	ips := map[string]string{}
	for _, p := range pods {
		ips[p.Name] = p.Status.PodIP
	}
	vip := k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
	suffix := "." + k.Namespace + ".svc.cluster.local"

	says := func(pod, name string, want ...string) {
		t.Helper()
		kit.Eventually(t, limit, pod+" resolves "+name, func() error {
			r := k.Try("exec", pod, "--", "nslookup", name)
			for _, w := range want {
				if !strings.Contains(r.Out, w) {
					return fmt.Errorf("%q is not in %+v", w, r)
				}
			}
			return nil
		})
	}
	for _, pod := range []string{"pets-0", "host"} {
		says(pod, "web", vip)
		says(pod, "web."+k.Namespace+".svc", vip)
		says(pod, "kubernetes.default", "10.43.0.1")
		says(pod, "pets", ips["pets-0"], ips["pets-1"])
		says(pod, "portless", ips["pets-0"], ips["pets-1"])
		says(pod, "pets-1.pets", ips["pets-1"])
		says(pod, "by-hand", "192.0.2.41")
		says(pod, "far", "192.0.2.80")
		says(pod, "www.example.org", "192.0.2.80")
		says(pod, "git.corp.example", "192.0.2.81")
	}
	// The first try of a pod's search list leads to what the last would find; nobody else is told so.
	says("pets-0", "www.example.org"+suffix, "192.0.2.80")
	says("pets-0", "kubernetes.default"+suffix, "10.43.0.1")

	check := func(when string) {
		t.Helper()
		for _, c := range []struct{ name, want string }{
			{"web" + suffix, "A " + vip}, {"pets-0.pets" + suffix, "A " + ips["pets-0"]},
			{"db-0.by-hand" + suffix, "A 192.0.2.41"}, {"192-0-2-42.by-hand" + suffix, "NXDOMAIN"},
			{"_http._tcp.web" + suffix, "SRV 80 web" + suffix}, {"_sql._tcp.by-hand" + suffix, "SRV 5432 db-0.by-hand" + suffix},
			{turned(vip), "PTR web" + suffix}, {turned("192.0.2.41"), "PTR db-0.by-hand" + suffix},
			{strings.ReplaceAll(ips["pets-0"], ".", "-") + "." + k.Namespace + ".pod.cluster.local", "A " + ips["pets-0"]},
			{"nobody" + suffix, "NXDOMAIN"}, {"www.example.org" + suffix, "NXDOMAIN"}, {"git.corp.example", "A 192.0.2.81"},
		} {
			kit.Eventually(t, limit, when+" "+c.name+" is "+c.want, func() error { return told(ns, c.name, c.want) })
		}
	}
	check("with a server")
	l.Do(t, "kill", "server1")
	check("without a server")
	l.Do(t, "kill-agent", node)
	l.Do(t, "restart", node)
	check("without a server, by an agent that began without one")
	kit.Eventually(t, limit, "that agent carries services too", func() error { _, err := kit.Curl(ns, "http://"+vip); return err })
	l.Do(t, "restart", "server1")
	kit.Eventually(t, limit, "the server is back", func() error {
		if r := k.Try("get", "svc", "web"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
}

// turned is the name of an address for PTR questions.
func turned(ip string) string {
	f := strings.Split(ip, ".")
	return f[3] + "." + f[2] + "." + f[1] + "." + f[0] + ".in-addr.arpa"
}

// told asks the cluster's DNS in a network namespace, by UDP, for the type that want begins with.
func told(namespace, name, want string) error {
	kinds := map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "SRV": dnsmessage.TypeSRV, "PTR": dnsmessage.TypePTR}
	word, _, _ := strings.Cut(want, " ")
	kind, ok := kinds[word]
	if !ok {
		kind = dnsmessage.TypeA
	}
	var got string
	err := within(namespace, func() (err error) {
		got, err = exchange(name+".", kind)
		return err
	})
	if err == nil && got != want {
		err = fmt.Errorf("it is %q", got)
	}
	return err
}
