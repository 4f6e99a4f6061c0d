package lbtest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const external = `
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: ExternalName, externalName: web.NS.svc.cluster.local}
`

// TestServiceChangesItsType: NW004, NW033 to NW036. A name leads to another service, to a third, to pods of its own by address and by node
// port, and away again; what it had then is free for the next.
func TestServiceChangesItsType(t *testing.T) {
	l, k := space(t)
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
	k.In(strings.ReplaceAll(external, "NS", k.Namespace)).Must(t, "apply", "-f", "-")
	pod := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)[0].Name
	resolves := func(want string) {
		t.Helper()
		kit.Eventually(t, limit, "other is "+want, func() error {
			if r := k.Try("exec", pod, "--", "nslookup", "other"); !strings.Contains(r.Out, want) {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
	}
	field := func(path string) string { return k.Must(t, "get", "svc", "other", "-o", "jsonpath="+path) }
	resolves(k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}"))
	k.Must(t, "patch", "svc", "other", "-p", `{"spec":{"externalName":"kubernetes.default.svc.cluster.local"}}`)
	resolves("10.43.0.1")

	k.Must(t, "patch", "svc", "other", "-p", `{"spec":{"type":"ClusterIP","externalName":null,"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}]}}`)
	vip := field("{.spec.clusterIP}")
	resolves(vip)
	says(t, l, "client1", "http://"+vip)

	k.Must(t, "patch", "svc", "other", "-p", `{"spec":{"type":"ExternalName","externalName":"kubernetes.default.svc.cluster.local","clusterIP":null,"clusterIPs":null}}`)
	if got := field("{.spec.clusterIP}{.spec.clusterIPs}"); got != "" {
		t.Errorf("the address %s is kept", got)
	}
	resolves("10.43.0.1")
	k.Must(t, "patch", "svc", "other", "-p", `{"spec":{"type":"NodePort","externalName":null}}`)
	port := field("{.spec.ports[0].nodePort}")
	for _, n := range []string{"client1", "client2"} {
		answers(t, "http://"+l.Node(t, n).Address+":"+port)
		says(t, l, n, "http://"+l.Node(t, n).Address+":"+port)
	}
	vip = field("{.spec.clusterIP}")
	k.Must(t, "patch", "svc", "other", "-p", `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":null,"clusterIPs":null,"ports":[{"port":80,"nodePort":null}]}}`)
	if got := field("{.spec.clusterIP}{.spec.ports[*].nodePort}"); got != "" {
		t.Errorf("%s is kept", got)
	}
	silent(t, "http://"+l.Node(t, "client1").Address+":"+port)
	k.In(strings.NewReplacer("VIP", vip, "PORT", port).Replace(`
apiVersion: v1
kind: Service
metadata: {name: heir}
spec: {type: NodePort, clusterIP: VIP, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: PORT}]}
`)).Must(t, "apply", "-f", "-")
	answers(t, "http://"+l.Node(t, "client1").Address+":"+port)
}

// says wants pods of the deployment behind a URL, asked from a node.
func says(t *testing.T, l *kit.Lab, node, url string) {
	t.Helper()
	kit.Eventually(t, limit, url+" from "+node, func() error {
		out, err := kit.Curl(l.Node(t, node).Namespace, url)
		if err == nil && !strings.Contains(out, "web-") {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}

// TestAffinityIsSwitched: NW038, NW039, NW043, NW044. A client keeps to one pod while the service asks for that, by each way in.
func TestAffinityIsSwitched(t *testing.T) {
	l, k := space(t)
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort", "--session-affinity=ClientIP")
	l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
	f := strings.Fields(k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"))
	ways := map[string]string{"http://" + f[0]: l.Node(t, "client1").Namespace, "http://" + l.Node(t, "client2").Address + ":" + f[1]: ""}
	pods := func(netns, url string, n int) (map[string]int, error) {
		seen := map[string]int{}
		for range n {
			out, err := kit.Curl(netns, url)
			if err != nil {
				return seen, err
			}
			seen[podName.FindString(out)]++
		}
		return seen, nil
	}
	for _, step := range []struct {
		affinity string
		pods     int
	}{{"ClientIP", 1}, {"None", 2}, {"ClientIP", 1}} {
		k.Must(t, "patch", "svc", "web", "-p", `{"spec":{"sessionAffinity":"`+step.affinity+`"}}`)
		for url, netns := range ways {
			kit.Eventually(t, limit, step.affinity+" by "+url, func() error {
				seen, err := pods(netns, url, 24)
				if err == nil && len(seen) != step.pods {
					err = fmt.Errorf("%d pods answer: %v", len(seen), seen)
				}
				return err
			})
		}
	}
}

var podName = regexp.MustCompile(`web-[a-z0-9]+-[a-z0-9]+`)
