package kubectltest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestServiceFromEverywhere: NW037. It asks a service by its name, its VIP and its NodePort from pods, nodes and the host.
func TestServiceFromEverywhere(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "3")
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort")
	k.Must(t, "expose", "deployment", "web", "--name=headless", "--port=8080", "--cluster-ip=None")
	pods := l.ReadyPods(t, k.Namespace, "app=web", 3, limit)
	f := strings.Fields(k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"))
	vip, nodePort := f[0], f[1]
	for i, p := range pods {
		get := func(url string) error {
			r := k.Try("exec", p.Name, "--", "wget", "-qO-", "-T", "3", url)
			if r.Code != 0 || r.Out == "" {
				return fmt.Errorf("%s: %+v", url, r)
			}
			return nil
		}
		urls := []string{"http://web", "http://web." + k.Namespace, "http://web." + k.Namespace + ".svc.cluster.local", "http://" + vip,
			"http://" + l.Node(t, "client1").Address + ":" + nodePort, "http://headless:8080"}
		if i == 0 {
			for _, other := range pods { // itself too
				urls = append(urls, "http://"+other.Status.PodIP+":8080")
			}
		}
		for _, url := range urls {
			kit.Eventually(t, limit, "from pod "+p.Name, func() error { return get(url) })
		}
	}
	for _, n := range []string{"client1", "client2", "client3"} {
		onEveryNode(t, l, "http://"+l.Node(t, n).Address+":"+nodePort, "web-")
	}
	onEveryNode(t, l, "http://"+vip, "web-")
	seen := map[string]bool{}
	kit.Eventually(t, limit, "every pod answers for the service", func() error {
		out, err := kit.Curl(l.Node(t, "client1").Namespace, "http://"+vip)
		if err != nil {
			return err
		}
		for _, p := range pods {
			if strings.Contains(out, p.Name) {
				seen[p.Name] = true
			}
		}
		if len(seen) < 3 {
			return fmt.Errorf("%d pods have answered", len(seen))
		}
		return nil
	})
	out := k.Must(t, "exec", pods[0].Name, "--", "nslookup", "headless."+k.Namespace+".svc.cluster.local")
	for _, p := range pods {
		kit.WantMatch(t, out, strings.ReplaceAll(p.Status.PodIP, ".", `\.`))
	}
	kit.WantMatch(t, k.Must(t, "exec", pods[0].Name, "--", "nslookup", "kubernetes.default"), `10\.43\.0\.1`)
	kit.WantMatch(t, k.Must(t, "exec", pods[0].Name, "--", "cat", "/etc/resolv.conf"), `^search `+k.Namespace+`\.svc\.cluster\.local svc\.cluster\.local cluster\.local`, `^nameserver 10\.43\.0\.10$`)
	if r := k.Try("exec", pods[0].Name, "--", "nslookup", "nothing."+k.Namespace+".svc.cluster.local"); r.Code == 0 {
		t.Errorf("a name that is not has %s", r.Out)
	}

	// A service without endpoints refuses at once; nobody waits for a timeout.
	k.Must(t, "scale", "deploy/web", "--replicas=0")
	kit.Eventually(t, limit, "refusal", func() error {
		began := time.Now()
		_, err := kit.Curl(l.Node(t, "client2").Namespace, "http://"+vip)
		if err == nil || time.Since(began) > 2*time.Second {
			return fmt.Errorf("a service without endpoints: %v after %v", err, time.Since(began))
		}
		return nil
	})
}

// TestNoRulesForServices wants no iptables rule and no IPVS for services, and no address of a service on a link.
func TestNoRulesForServices(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "1")
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
	vip := k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
	out, err := l.Exec(t, "client1", "ip", "route", "show", "table", "local")
	if err != nil {
		t.Fatal(err, out)
	}
	kit.WantMatch(t, out, `^local 10\.43\.0\.0/16 dev lo`)
	if out, _ := l.Exec(t, "client1", "cat", "/proc/net/ip_tables_names"); strings.Contains(out, "nat") {
		t.Errorf("iptables' nat table is in use: %s", out)
	}
	if out, _ := l.Exec(t, "client1", "ip", "address"); strings.Contains(out, vip+"/") {
		t.Errorf("the service's address is on a link:\n%s", out)
	}
}
