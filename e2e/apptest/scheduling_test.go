package apptest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// pod is a bare pod; spec and container are more fields of both, in a line of YAML.
func pod(name, spec, container string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {terminationGracePeriodSeconds: 0, %s containers: [{name: c, image: peapod/demo%s}]}\n---\n", name, spec, container)
}

// refused waits until a pod says why it has no node.
func refused(t *testing.T, k kit.Kubectl, name, why string) {
	t.Helper()
	kit.Eventually(t, limit, name+" is refused", func() error {
		return kit.Matches(k.Must(t, "get", "pod", name, "-o", "jsonpath={.spec.nodeName}/{.status.phase}/{.status.conditions[?(@.type=='PodScheduled')].reason}/{.status.conditions[?(@.type=='PodScheduled')].message}"),
			`^/Pending/Unschedulable/0/\d nodes are available: .*`+why)
	})
}

// TestNodesThatFit: SC003 to SC006: a pod waits that is too big, selects a label that no node has, or wants a port that is taken on any address.
func TestNodesThatFit(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(pod("big", "", ", resources: {requests: {cpu: '10000'}}")+pod("picky", "nodeSelector: {e2e-app: "+k.Namespace+"},", "")).Must(t, "apply", "-f", "-")
	refused(t, k, "big", `\d Insufficient cpu`)
	refused(t, k, "picky", `\d node\(s\) didn't match Pod's node affinity/selector`)
	node := values(t, k, "nodes", names)[1]
	k.Must(t, "label", "node", node, "e2e-app="+k.Namespace)
	t.Cleanup(func() { k.Must(t, "label", "node", node, "e2e-app-") })
	k.Must(t, "wait", "--for=condition=Ready", "pod/picky", "--timeout=60s")
	k.Want(t, node, "get", "pod", "picky", "-o", "jsonpath={.spec.nodeName}")

	there, address := "nodeSelector: {e2e-app: "+k.Namespace+"},", l.Node(t, node).Address
	port := func(protocol, ip string) string {
		return fmt.Sprintf(", ports: [{containerPort: 8080, hostPort: 18571, protocol: %s, hostIP: %q}]", protocol, ip)
	}
	k.In(pod("any", there, port("TCP", "0.0.0.0"))).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/any", "--timeout=60s")
	k.In(pod("one", there, port("TCP", address))+pod("datagrams", there, port("UDP", address))).Must(t, "apply", "-f", "-")
	refused(t, k, "one", `1 node\(s\) didn't have free ports for the requested pod ports`)
	k.Must(t, "wait", "--for=condition=Ready", "pod/datagrams", "--timeout=60s")
	k.Must(t, "delete", "pod", "any")
	k.Must(t, "wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
}

// TestLimitRange: SC001: pods get the defaults of the namespace's limits, and those beyond them are refused, by what the limits are now.
func TestLimitRange(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In("apiVersion: v1\nkind: LimitRange\nmetadata: {name: limits}\nspec: {limits: [{type: Container, min: {cpu: 50m, memory: 16Mi}, max: {cpu: 500m, memory: 512Mi}, "+
		"default: {cpu: 300m, memory: 256Mi}, defaultRequest: {cpu: 100m, memory: 64Mi}}]}").Must(t, "apply", "-f", "-")
	k.In(pod("none", "", "")+pod("some", "", ", resources: {limits: {cpu: 400m}}")).Must(t, "apply", "-f", "-")
	const resources = "jsonpath={.spec.containers[0].resources.requests.cpu} {.spec.containers[0].resources.requests.memory} {.spec.containers[0].resources.limits.cpu} {.spec.containers[0].resources.limits.memory}"
	k.Want(t, "100m 64Mi 300m 256Mi", "get", "pod", "none", "-o", resources)
	k.Want(t, "400m 64Mi 400m 256Mi", "get", "pod", "some", "-o", resources)
	kit.WantMatch(t, k.In(pod("small", "", ", resources: {requests: {cpu: 10m}}")).Fail(t, "apply", "-f", "-"), `minimum cpu usage per Container is 50m, but request is 10m`)
	kit.WantMatch(t, k.In(pod("large", "", ", resources: {limits: {memory: 1Gi}}")).Fail(t, "apply", "-f", "-"), `maximum memory usage per Container is 512Mi, but limit is 1Gi`)
	k.Must(t, "patch", "limitrange", "limits", "--type=json", "-p", `[{"op":"replace","path":"/spec/limits/0/min/cpu","value":"5m"}]`)
	k.In(pod("small", "", ", resources: {requests: {cpu: 10m}}")).Must(t, "apply", "-f", "-")
	k.Must(t, "delete", "limitrange", "limits")
	k.In(pod("large", "", ", resources: {limits: {memory: 1Gi}}")).Must(t, "apply", "-f", "-")
}

// TestPriorityClasses: SC008: what a class means may not change, what is said of it may.
func TestPriorityClasses(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	name := "class-" + k.Namespace
	t.Cleanup(func() { k.Must(t, "delete", "priorityclass", name) })
	k.In("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: "+name+"}\nvalue: 7\n").Must(t, "create", "-f", "-")
	k.Must(t, "patch", "priorityclass", name, "--type=merge", "-p", `{"description":"for a test","metadata":{"labels":{"a":"b"}}}`)
	k.Want(t, "7 for a test b", "get", "priorityclass", name, "-o", "jsonpath={.value} {.description} {.metadata.labels.a}")
	kit.WantMatch(t, k.Fail(t, "patch", "priorityclass", name, "--type=merge", "-p", `{"value":8}`), `value: Forbidden: may not be changed in an update`)
	kit.WantMatch(t, k.Fail(t, "patch", "priorityclass", name, "--type=merge", "-p", `{"preemptionPolicy":"Never"}`), `preemptionPolicy: .*may not be changed|field is immutable`)
}

// TestPriorityLevels: SC007: four ReplicaSets of rising priority share what one node has. The last one takes the place of as many of the
// lowest as it needs, and no other's.
func TestPriorityLevels(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	node := values(t, k, "nodes", names)[0]
	resource := "e2e.example.com~1" + k.Namespace
	k.Must(t, "patch", "node", node, "--subresource=status", "--type=json", "-p", fmt.Sprintf(
		`[{"op":"add","path":"/status/capacity/%[1]s","value":"1000"},{"op":"add","path":"/status/allocatable/%[1]s","value":"1000"}]`, resource))
	t.Cleanup(func() {
		k.Must(t, "patch", "node", node, "--subresource=status", "--type=json", "-p", fmt.Sprintf(
			`[{"op":"remove","path":"/status/capacity/%[1]s"},{"op":"remove","path":"/status/allocatable/%[1]s"}]`, resource))
	})
	level := func(n, replicas, each int) {
		t.Helper()
		name := fmt.Sprintf("p%d", n)
		class := name + "-" + k.Namespace
		t.Cleanup(func() { k.Must(t, "delete", "priorityclass", class, "--ignore-not-found") })
		k.In(fmt.Sprintf(`apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: %[1]s}
value: %[2]d
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: %[3]s}
spec:
  replicas: %[4]d
  selector: {matchLabels: {app: %[3]s}}
  template:
    metadata: {labels: {app: %[3]s}}
    spec: {terminationGracePeriodSeconds: 0, priorityClassName: %[1]s, containers: [{name: c, image: peapod/demo, resources: {limits: {%[5]s: %[6]d}}}]}
`, class, n, name, replicas, strings.Replace(resource, "~1", "/", 1), each)).Must(t, "apply", "-f", "-")
	}
	running := func(want string) error {
		return kit.Matches(k.Must(t, "get", "rs", "--sort-by=.metadata.name", "-o", "jsonpath={range .items[*]}{.metadata.name}={.status.readyReplicas} {end}"), `^`+want+` $`)
	}
	level(1, 1, 200)
	level(2, 1, 300)
	level(3, 1, 450)
	kit.Eventually(t, limit, "three levels run", func() error { return running("p1=1 p2=1 p3=1") })
	before := k.Must(t, "get", "pods", "-l", "app=p3", "-o", "name")
	level(4, 1, 500)
	kit.Eventually(t, limit, "the fourth runs", func() error { return running("p1= p2= p3=1 p4=1") })
	kit.Consistently(t, time.Second, "it stays so", func() error { return running("p1= p2= p3=1 p4=1") })
	k.Want(t, before, "get", "pods", "-l", "app=p3", "-o", "name")
	k.Must(t, "delete", "rs", "p4")
	kit.Eventually(t, limit, "the lowest come back", func() error { return running("p1=1 p2=1 p3=1") })
}
