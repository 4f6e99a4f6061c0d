package podtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// cgroupFile reads a limit in a container, wherever this machine's version of cgroups has it.
func cgroupFile(t *testing.T, k kit.Kubectl, pod, container, v2, v1 string) string {
	t.Helper()
	return strings.TrimSpace(k.Must(t, "exec", pod, "-c", container, "--", "sh", "-c",
		fmt.Sprintf("cat /sys/fs/cgroup/%s 2>/dev/null || cat /sys/fs/cgroup/%s", v2, v1)))
}

// ND043 to ND048: resources change while a pod runs; a container that wants to be restarted for it is.
func TestResize(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: calm
    image: peapod/demo
    resources: {requests: {cpu: 20m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
  - name: touchy
    image: peapod/demo
    args: [-p, "8081"]
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}, {resourceName: cpu, restartPolicy: NotRequired}]
    resources: {requests: {cpu: 20m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
`)
	ready(t, k, "p")
	resize := func(container, resources string) {
		t.Helper()
		k.Must(t, "patch", "pod", "p", "--subresource=resize", "-p", fmt.Sprintf(`{"spec":{"containers":[{"name":%q,"resources":%s}]}}`, container, resources))
	}
	resize("calm", `{"requests":{"cpu":"30m"},"limits":{"cpu":"300m","memory":"128Mi"}}`)
	awaitField(t, k, "p", ".status.containerStatuses[?(@.name=='calm')].resources.limits.memory", `^128Mi$`)
	if got := cgroupFile(t, k, "p", "calm", "memory.max", "memory/memory.limit_in_bytes"); got != "134217728" {
		t.Errorf("the memory limit is %s", got)
	}
	kit.WantMatch(t, cgroupFile(t, k, "p", "calm", "cpu.max", "cpu/cpu.cfs_quota_us"), `^30000`)
	awaitField(t, k, "p", ".status.containerStatuses[*].restartCount", `^0 0$`)

	resize("touchy", `{"limits":{"memory":"96Mi"}}`)
	awaitField(t, k, "p", ".status.containerStatuses[?(@.name=='touchy')].restartCount", `^1$`)
	awaitField(t, k, "p", ".status.containerStatuses[?(@.name=='touchy')].resources.limits.memory", `^96Mi$`)
	ready(t, k, "p")
	awaitField(t, k, "p", ".status.containerStatuses[?(@.name=='calm')].restartCount", `^0$`)

	resize("calm", `{"requests":{"cpu":"1000"},"limits":{"cpu":"1000"}}`)
	awaitField(t, k, "p", ".status.conditions[?(@.type=='PodResizePending')].reason", `^Infeasible$`)
	awaitField(t, k, "p", ".status.conditions[?(@.type=='PodResizePending')].message", `^Node didn't have enough capacity: cpu, requested: `)
	awaitField(t, k, "p", ".status.containerStatuses[?(@.name=='calm')].allocatedResources.cpu", `^30m$`)
	resize("calm", `{"requests":{"cpu":"30m"},"limits":{"cpu":"300m"}}`)
	awaitField(t, k, "p", ".status.conditions[?(@.type=='PodResizePending')].reason", `^$`)
	kit.WantMatch(t, k.Fail(t, "patch", "pod", "p", "-p", `{"spec":{"containers":[{"name":"calm","resources":{"limits":{"cpu":"1"}}}]}}`), `Forbidden: pod updates may not change fields`)
}

// What runs is measured, by pod and by container, and the node tells it in all forms that people ask for.
func TestTop(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: spin, image: peapod/demo, command: [sh, -c, "while true; do true; done"], resources: {limits: {cpu: 100m}}}
  - {name: idle, image: peapod/demo}
`)
	ready(t, k, "busy")
	kit.Eventually(t, limit, "the use of a busy container", func() error {
		return kit.Matches(k.Try("top", "pod", "busy", "--containers").Out, `(?s)POD +NAME +CPU\(cores\) +MEMORY\(bytes\) +\n.*busy +spin +\d{2,}m +\d+Mi`)
	})
	kit.WantMatch(t, k.Must(t, "top", "pod", "-l", "app=busy", "--sum"), `busy +\d+m +\d+Mi`)
	kit.WantMatch(t, k.Must(t, "top", "node"), `client1 +\d+m +\d+% +\d+Mi +\d+%`)
	kit.WantMatch(t, k.Must(t, "get", "podmetrics", "busy"), `NAME +CPU +MEMORY +WINDOW`, `busy +\d+m +\d+Mi +`)
	node := k.Must(t, "get", "pod", "busy", "-o", "jsonpath={.spec.nodeName}")
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/metrics/resource"),
		`container_cpu_usage_seconds_total\{container="spin",namespace="`+k.Namespace+`",pod="busy"\} \d`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary"), `"podRef":\{"name":"busy","namespace":"`+k.Namespace)
}

// A pod that keeps more on disk than it may is evicted; what it asked for in vain is in its status.
func TestEphemeralStorageLimit(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: hoarder}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: peapod/demo, command: [sh, -c, "dd if=/dev/zero of=/hoard bs=1M count=8; sleep 1000"], resources: {limits: {ephemeral-storage: 2Mi}}}
`)
	awaitField(t, k, "hoarder", ".status.reason", `^Evicted$`)
	awaitField(t, k, "hoarder", ".status.message", `^Pod ephemeral local storage usage exceeds the total limit of containers 2Mi`)
	kit.Eventually(t, limit, "the container's end", func() error { return kit.Matches(k.Must(t, "get", "pod", "hoarder"), `hoarder +0/1 +Error`) })
	kit.Eventually(t, limit, "the event", func() error {
		return kit.Matches(k.Must(t, "get", "events", "--field-selector=involvedObject.name=hoarder"), `Warning +Evicted +pod/hoarder`)
	})
}

// A node that runs low on memory says so, keeps new pods away and ends the least important one.
func TestMemoryPressure(t *testing.T) {
	t.Parallel()
	l, err := kit.Up(kit.Options{Name: "podlow", Servers: 1, Clients: 1, Args: []string{"--client-arg=--eviction-hard=memory.available<99%"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	}()
	k := l.Kubectl("default")
	kit.Eventually(t, limit, "the pressure", func() error {
		return kit.Matches(k.Must(t, "describe", "node", "client1"), `MemoryPressure +True .*KubeletHasInsufficientMemory`)
	})
	kit.Eventually(t, limit, "the taint", func() error {
		return kit.Matches(k.Must(t, "describe", "node", "client1"), `Taints: +node.kubernetes.io/memory-pressure:NoSchedule`)
	})
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: brave}
spec:
  tolerations: [{operator: Exists}]
  containers: [{name: c, image: peapod/demo, resources: {requests: {memory: 1Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: thrust}
spec:
  nodeName: client1
  containers: [{name: c, image: peapod/demo}]
`)
	awaitField(t, k, "brave", ".status.reason", `^Evicted$`)
	awaitField(t, k, "brave", ".status.message", `^The node was low on resource: memory\. Threshold quantity: .*Container c was using .*, request is 1Mi, has larger consumption of memory`)
	awaitField(t, k, "brave", ".status.conditions[?(@.type=='DisruptionTarget')].reason", `^TerminationByKubelet$`)
	awaitField(t, k, "thrust", ".status.message", `^Pod was rejected: The node had condition: \[MemoryPressure\]`)
}

// The annotations of the bandwidth hold in both directions: a transfer takes at least as long as they say.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: slow, annotations: {kubernetes.io/ingress-bandwidth: 8M, kubernetes.io/egress-bandwidth: 8M}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: peapod/demo}]
---
apiVersion: v1
kind: Pod
metadata: {name: fast}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: peapod/demo}]
---
apiVersion: v1
kind: Pod
metadata: {name: odd, annotations: {kubernetes.io/ingress-bandwidth: fast}}
spec:
  containers: [{name: c, image: peapod/demo}]
`)
	ready(t, k, "slow", "fast")
	get := func(from, of string) time.Duration {
		t.Helper()
		ip := k.Must(t, "get", "pod", of, "-o", "jsonpath={.status.podIP}")
		began := time.Now()
		k.Want(t, "2000000\n", "exec", from, "--", "sh", "-c", "wget -qO- 'http://"+ip+":8080/bytes?n=2000000' | wc -c")
		return time.Since(began)
	}
	const least = 1800 * time.Millisecond // 2 MB at 1 MB/s, less the burst
	if took := get("fast", "slow"); took < least {
		t.Errorf("it sent 2 MB within %v", took)
	}
	if took := get("slow", "fast"); took < least {
		t.Errorf("it received 2 MB within %v", took)
	}
	kit.Eventually(t, limit, "the fault of a bad annotation", func() error {
		return kit.Matches(k.Must(t, "get", "events", "--field-selector=involvedObject.name=odd"), `FailedCreatePodSandBox .*annotation kubernetes.io/ingress-bandwidth: "fast" is no quantity`)
	})
}
