package kubectltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// sleepers are a Deployment whose pods do nothing; more is the rest of their spec, as YAML in one line.
func sleepers(name string, replicas int, more string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: busybox, command: [sleep, "1000"]}], %[3]s}
---
`, name, replicas, more)
}

// nodesOf are the nodes of an application's pods, with how many each has.
func nodesOf(t *testing.T, k kit.Kubectl, app string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, node := range strings.Fields(k.Must(t, "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[*].spec.nodeName}")) {
		out[node]++
	}
	return out
}

// TestPodsBesidePods: pods are spread, kept apart and brought together, and say why they wait.
func TestPodsBesidePods(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	term := func(app string) string {
		return fmt.Sprintf("{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: %s}}}", app)
	}
	k.In(sleepers("spread", 6, "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}]")+
		sleepers("apart", 4, "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: ["+term("apart")+"]}}")+
		sleepers("single", 1, "")+
		sleepers("near", 3, "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: ["+term("single")+"]}}")).Must(t, "apply", "-f", "-")
	for _, app := range []string{"spread", "single", "near"} {
		k.Must(t, "rollout", "status", "deployment/"+app, "--timeout=60s")
	}
	if got := nodesOf(t, k, "spread"); len(got) != 3 {
		t.Errorf("spread over %v", got)
	} else {
		for node, n := range got {
			if n != 2 {
				t.Errorf("%d pods are on %s", n, node)
			}
		}
	}
	if got := nodesOf(t, k, "apart"); len(got) != 3 {
		t.Errorf("apart are %v", got)
	}
	near, single := nodesOf(t, k, "near"), nodesOf(t, k, "single")
	for node := range single {
		if near[node] != 3 {
			t.Errorf("near are %v, not on %s", near, node)
		}
	}
	kit.Eventually(t, limit, "the reason why the fourth waits", func() error {
		return kit.Matches(k.Must(t, "get", "events", "--field-selector=reason=FailedScheduling"), `Warning +FailedScheduling +pod/apart-\S+ +0/3 nodes are available: 3 node\(s\) didn't match pod anti-affinity rules\. `+
			`preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod\.`)
	})
}

// TestPreemption: SC009, SC010 and SC011. The pods want a port of the node's, so that no other test's pods are in the way.
func TestPreemption(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	pod := func(name, class, finalizers string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}, finalizers: [%s]}
spec:
  priorityClassName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: busybox, command: [sleep, "1000"], ports: [{containerPort: 80, hostPort: 18471}]}]
---
`, name, class, finalizers, class)
	}
	class := func(name string, value int) string {
		return fmt.Sprintf("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: %s}\nvalue: %d\n---\n", name, value)
	}
	low, middle := "low-"+k.Namespace, "middle-"+k.Namespace
	t.Cleanup(func() { k.Must(t, "delete", "priorityclass", low, middle) })
	k.In(class(low, 1)+class(middle, 100)+pod("low-1", low, "peapod.sh/test")+pod("middle-1", middle, "")+pod("middle-2", middle, "")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/low-1", "pod/middle-1", "pod/middle-2", "--timeout=60s")
	node := k.Must(t, "get", "pod", "low-1", "-o", "jsonpath={.spec.nodeName}")
	k.In(pod("high", "system-cluster-critical", "")).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "the victim says why it goes", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "low-1", "-o", "jsonpath={.metadata.deletionTimestamp} {.status.conditions[?(@.type=='DisruptionTarget')].reason}"), `^\d.* PreemptionByScheduler$`)
	})
	// It is nominated until the victim's containers have ended, and from then on it is there.
	kit.WantMatch(t, k.Must(t, "get", "pod", "high", "-o", "jsonpath={.status.nominatedNodeName}{.spec.nodeName}"), `^`+node+`$`)
	kit.WantMatch(t, k.Must(t, "get", "events", "--field-selector=reason=Preempted"), `Normal +Preempted +pod/low-1 +Preempted by pod [0-9a-f-]{36} on node `+node)
	k.Must(t, "patch", "pod", "low-1", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	k.Must(t, "wait", "--for=condition=Ready", "pod/high", "--timeout=60s")
	k.Want(t, node, "get", "pod", "high", "-o", "jsonpath={.spec.nodeName}")
	k.Want(t, "Running Running", "get", "pods", "middle-1", "middle-2", "-o", "jsonpath={.items[*].status.phase}")
}

// TestGang: pods that are of use together only.
func TestGang(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	gang := strings.Replace(sleepers("crew", 4, "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: crew}}}]}}"),
		"metadata: {labels: {app: crew}}", `metadata: {labels: {app: crew}, annotations: {peapod.sh/gang: crew, peapod.sh/gang-size: "4"}}`, 1)
	k.In(gang).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "the reason", func() error {
		return kit.Matches(k.Must(t, "get", "events", "--field-selector=reason=FailedScheduling"), `Warning +FailedScheduling +pod/crew-\S+ +gang crew: 3 of 4 pods fit\. 0/3 nodes are available: `)
	})
	if got := nodesOf(t, k, "crew"); len(got) != 0 {
		t.Errorf("some are placed: %v", got)
	}
	k.Must(t, "delete", "deployment", "crew")
	k.In(strings.ReplaceAll(gang, `gang-size: "4"`, `gang-size: "3"`)).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "three are enough", func() error {
		if got := nodesOf(t, k, "crew"); len(got) != 3 {
			return fmt.Errorf("placed are %v", got)
		}
		return nil
	})
}
