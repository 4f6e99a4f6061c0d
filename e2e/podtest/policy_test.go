package podtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// policyPods are a server and a client on each of two nodes, and a service of the servers.
const policyPods = `
{apiVersion: v1, kind: Pod, metadata: {name: server1, labels: {app: server}}, spec: {nodeName: client1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo, ports: [{name: http, containerPort: 8080}], readinessProbe: {httpGet: {port: http}, periodSeconds: 1}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: near, labels: {app: client}}, spec: {nodeName: client1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far, labels: {app: client}}, spec: {nodeName: client2, terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: stranger, labels: {app: stranger}}, spec: {nodeName: client2, terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: server}, spec: {selector: {app: server}, ports: [{port: 80, targetPort: http}]}}
`

func policy(name, spec string) string {
	return fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: %s}, spec: %s}\n", name, spec)
}

// TestNetworkPolicies (Invariant 121) holds pods apart on one node and across nodes, by their own addresses and through a service.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, policyPods)
	ready(t, k, "server1", "near", "far", "stranger")
	at := map[string]string{"pod": k.Must(t, "get", "pod", "server1", "-o", "jsonpath={.status.podIP}") + ":8080",
		"vip": k.Must(t, "get", "svc", "server", "-o", "jsonpath={.spec.clusterIP}")}
	reach := func(what, want string) {
		t.Helper()
		kit.Eventually(t, limit, what, func() error {
			for _, w := range strings.Fields(want) {
				who, to, _ := strings.Cut(strings.TrimSuffix(w, "-"), ">")
				r := k.Try("exec", who, "--", "wget", "-qO-", "-T", "2", "http://"+at[to])
				if denied := strings.HasSuffix(w, "-"); denied != (r.Code != 0) {
					return fmt.Errorf("%s: %+v", w, r)
				}
			}
			return nil
		})
	}
	reach("without a policy", "near>pod far>pod stranger>pod near>vip far>vip stranger>vip")

	apply(t, k, policy("deny", "{podSelector: {}, policyTypes: [Ingress]}"))
	reach("default deny", "near>pod- far>pod- stranger>pod- near>vip- far>vip- stranger>vip-")
	awaitField(t, k, "server1", `.status.conditions[?(@.type=="Ready")].status`, "True") // by its probe, which comes from the node

	apply(t, k, policy("clients", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]}"))
	reach("clients only", "near>pod far>pod stranger>pod- near>vip far>vip stranger>vip-")

	k.Must(t, "label", "pod", "stranger", "app=client", "--overwrite")
	reach("one more client", "stranger>pod stranger>vip")

	apply(t, k, policy("quiet", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}"))
	reach("no egress", "near>pod- far>pod- near>vip- far>vip-")
	apply(t, k, policy("quiet", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: http}]}]}"))
	reach("egress to the server's named port", "near>pod far>pod near>vip far>vip")

	// A pod that starts is isolated from its first moment: what it tries at once must not get through, though the server would let it in.
	k.Must(t, "delete", "networkpolicy", "quiet")
	apply(t, k, policy("mute", "{podSelector: {matchLabels: {mute: very}}, policyTypes: [Egress]}"))
	apply(t, k, `{apiVersion: v1, kind: Pod, metadata: {name: mute, labels: {app: client, mute: very}}, spec: {nodeName: client1, restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo,
  command: [sh, -c, "for i in 1 2 3; do wget -qO- -T 1 http://`+at["pod"]+` && exit 1; done; exit 0"]}]}}`)
	kit.Eventually(t, limit, "the mute pod", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "mute", "-o", "jsonpath={.status.phase}"), "Succeeded")
	})

	k.Must(t, "delete", "networkpolicy", "--all")
	reach("after the policies", "near>pod far>pod stranger>pod near>vip far>vip stranger>vip")
}
