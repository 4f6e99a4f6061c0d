package nettest

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const pool = `
apiVersion: v1
kind: ConfigMap
metadata: {name: peapod-load-balancer, namespace: kube-system}
data: {addresses: "FOUR.200 SIX::200"}
`

const dual = web + `
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// TestDualStack: nodes and pods have addresses of both families, and services are reached by each: by name, by address, by node port and at a
// load balancer's address, across nodes. DNS is asked by each, and network policies hold for each. Clients' own addresses are kept by IPv6, and what a node announces moves when it dies.
func TestDualStack(t *testing.T) {
	l, k := up(t, "nettestdual", 2, "--dual-stack")
	nodes := map[string]string{}
	for _, n := range []string{"client1", "client2"} {
		nodes[n] = k.Must(t, "get", "node", n, "-o", `jsonpath={.status.addresses[1].address}`)
	}
	six, last, ok := strings.Cut(nodes["client1"], "::")
	if !ok || last != "15" {
		t.Fatalf("the nodes have the addresses %v", nodes)
	}
	l.Kubectl("kube-system").In(strings.NewReplacer("FOUR", l.Subnet[:strings.LastIndex(l.Subnet, ".")], "SIX", six).Replace(pool)).Must(t, "apply", "-f", "-")
	k.In(dual+"---"+asker).Must(t, "apply", "-f", "-")
	pods := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
	l.ReadyPods(t, k.Namespace, "app=asker", 1, limit)
	kit.WantMatch(t, k.Must(t, "get", "node", "client1", "-o", "jsonpath={.spec.podCIDRs}"), `\["10\.42\.\d+\.0/24","fd00:42:.*/64"\]`)
	vips := strings.Fields(k.Must(t, "get", "svc", "both", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
	if len(vips) != 2 {
		t.Fatal(vips)
	}
	get := func(url string) (string, error) {
		r := k.Try("exec", "asker", "--", "wget", "-qO-", "-T", "5", url)
		if r.Code != 0 {
			return "", errors.New(r.Err)
		}
		return r.Out, nil
	}
	leads := func(url, client string, get func(string) (string, error)) {
		t.Helper()
		everyPod(t, pods, url, func(corev1.Pod) string { return client }, func() (string, error) { return get(url) })
	}
	reaches := func(url, client string) { t.Helper(); leads(url, client, get) }
	reaches("http://"+vips[0], "10.42.")
	reaches("http://["+vips[1]+"]", "[fd00:42:")
	reaches("http://six", "[fd00:42:")
	k.Must(t, "annotate", "svc", "six", "peapod.sh/keep-source=true")
	reaches("http://six", "["+k.Must(t, "get", "pods", "-l", "app=asker", "-o", "jsonpath={.items[0].status.podIPs[1].ip}")+"]:")
	for _, p := range pods {
		if len(p.Status.PodIPs) != 2 {
			t.Fatalf("%s has %v", p.Name, p.Status.PodIPs)
		}
		kit.Eventually(t, limit, "a pod answers", func() error {
			return kit.Matches(k.Try("exec", "asker", "--", "wget", "-qO-", "-T", "5", "http://["+p.Status.PodIPs[1].IP+"]:8080").Out, p.Name)
		})
	}
	port := k.Must(t, "get", "svc", "both", "-o", "jsonpath={.spec.ports[0].nodePort}")
	outside := func(url string) (string, error) { return kit.Curl("", url) }
	for _, ip := range nodes {
		leads("http://["+ip+"]:"+port, "[fd00:42:", outside)
		reaches("http://["+ip+"]:"+port, "[fd00:42:")
	}
	leads("http://["+six+"::200]", "[fd00:42:", outside) // this machine is a neighbour of the nodes
	kit.WantMatch(t, k.Must(t, "get", "svc", "both"), six+"::200")
	for _, server := range []string{"10.43.0.10", "fd00:43::a"} {
		kit.WantMatch(t, k.Must(t, "exec", "asker", "--", "nslookup", "both", server), vips[0], vips[1])
		kit.WantMatch(t, k.Must(t, "exec", "asker", "--", "cat", "/etc/resolv.conf"), "nameserver "+server)
	}
	k.In(isolate).Must(t, "apply", "-f", "-")
	reaches("http://["+vips[1]+"]", "[fd00:42:") // the policy allows the asker, who is known by either address
	direct := func(from string) kit.Result {
		return k.Try("exec", from, "--", "wget", "-qO-", "-T", "2", "http://["+pods[1].Status.PodIPs[1].IP+"]:8080")
	}
	kit.Eventually(t, limit, "the policy keeps a pod from another one's second address", func() error {
		if r := direct(pods[0].Name); r.Code == 0 {
			return errors.New(r.Out)
		}
		return nil
	})
	answers := func(from string) {
		t.Helper()
		kit.Eventually(t, limit, from+" is let through", func() error { return kit.Matches(direct(from).Out, pods[1].Name) })
	}
	answers("asker")
	k.In(strings.ReplaceAll(block, "ADDRESS", pods[0].Status.PodIPs[1].IP)).Must(t, "apply", "-f", "-")
	answers(pods[0].Name)
	k.Must(t, "delete", "networkpolicies", "--all")
	l.Do(t, "kill", k.Must(t, "get", "svc", "both", "-o", `jsonpath={.metadata.annotations.peapod\.sh/load-balancer-node}`))
	kit.Eventually(t, limit, "another node announces the address of IPv6", func() error {
		out, err := outside("http://[" + six + "::200]")
		return errors.Join(err, kit.Matches(out, "client +"))
	})
}

// block lets in who has an address, beside those that another policy lets in.
const block = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: block}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: ADDRESS/128}}], ports: [{port: 8080}]}]}
`
