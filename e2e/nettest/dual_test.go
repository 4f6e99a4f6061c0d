package nettest

import (
	"errors"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const dual = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: peapod/demo}]}
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// TestDualStack: pods have addresses of both families, and services are reached by each, by name and by address, across nodes.
func TestDualStack(t *testing.T) {
	l, k := up(t, "nettestdual", 2, "--dual-stack")
	k.In(dual+"---"+asker).Must(t, "apply", "-f", "-")
	web := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
	l.ReadyPods(t, k.Namespace, "app=asker", 1, limit)
	kit.WantMatch(t, k.Must(t, "get", "node", "client1", "-o", "jsonpath={.spec.podCIDRs}"), `\["10\.42\.\d+\.0/24","fd00:42:.*/64"\]`)
	vips := strings.Fields(k.Must(t, "get", "svc", "both", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
	if len(vips) != 2 {
		t.Fatal(vips)
	}
	reaches := func(url, client string) {
		t.Helper()
		seen := map[string]bool{}
		kit.Eventually(t, limit, url+" leads to both pods", func() error {
			r := k.Try("exec", "asker", "--", "wget", "-qO-", "-T", "5", url)
			for _, p := range web {
				if strings.Contains(r.Out, p.Name) && strings.Contains(r.Out, "client      "+client) {
					seen[p.Name] = true
				}
			}
			if r.Code != 0 || len(seen) < 2 {
				return errors.New(r.Out + r.Err)
			}
			return nil
		})
	}
	reaches("http://"+vips[0], "10.42.")
	reaches("http://["+vips[1]+"]", "[fd00:42:")
	reaches("http://six", "[fd00:42:")
	for _, p := range web {
		if len(p.Status.PodIPs) != 2 {
			t.Fatalf("%s has %v", p.Name, p.Status.PodIPs)
		}
		kit.Eventually(t, limit, "a pod answers", func() error {
			return kit.Matches(k.Try("exec", "asker", "--", "wget", "-qO-", "-T", "5", "http://["+p.Status.PodIPs[1].IP+"]:8080").Out, p.Name)
		})
	}
	kit.WantMatch(t, k.Must(t, "exec", "asker", "--", "nslookup", "both"), vips[0], vips[1])
	k.In(isolate).Must(t, "apply", "-f", "-")
	reaches("http://["+vips[1]+"]", "[fd00:42:") // the policy allows the asker, who is known by either address
	kit.Eventually(t, limit, "the policy keeps a pod from another one's second address", func() error {
		if r := k.Try("exec", web[0].Name, "--", "wget", "-qO-", "-T", "2", "http://["+web[1].Status.PodIPs[1].IP+"]:8080"); r.Code == 0 {
			return errors.New(r.Out)
		}
		return nil
	})
}
