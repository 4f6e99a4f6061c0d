package lbtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "e2elb", Servers: 1, Clients: 2}) }

// space gives a test a namespace with a deployment "web" of two pods, and the cluster its pool: the end of the lab's network.
func space(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	l.Kubectl("kube-system").In(strings.ReplaceAll(pool, "NET", network(l))).Must(t, "apply", "-f", "-")
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--replicas=2", "--port=8080")
	return l, k
}

const pool = `
apiVersion: v1
kind: ConfigMap
metadata: {name: peapod-load-balancer, namespace: kube-system}
data: {addresses: NET.200-NET.220}
`

// network is the first three bytes of the lab's addresses.
func network(l *kit.Lab) string { return l.Subnet[:strings.LastIndex(l.Subnet, ".")] }

// answers wants pods of the deployment behind a URL, asked from this machine, which is a neighbour of the nodes.
func answers(t *testing.T, url string) {
	t.Helper()
	kit.Eventually(t, limit, url+" answers", func() error {
		out, err := kit.Curl("", url)
		if err == nil && !strings.Contains(out, "web-") {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}

// silent wants no answer.
func silent(t *testing.T, url string) {
	t.Helper()
	kit.Eventually(t, limit, url+" does not answer", func() error {
		if out, err := kit.Curl("", url); err == nil {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
}

// balancer waits for a service's address and its node.
func balancer(t *testing.T, k kit.Kubectl, name string) (ip, node string) {
	t.Helper()
	kit.Eventually(t, limit, name+" has an address", func() error {
		f := strings.Fields(k.Must(t, "get", "svc", name, "-o", `jsonpath={.status.loadBalancer.ingress[0].ip} {.metadata.annotations.peapod\.sh/load-balancer-node}`))
		if len(f) != 2 {
			return fmt.Errorf("it has %v", f)
		}
		ip, node = f[0], f[1]
		return nil
	})
	return ip, node
}
