package podtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
	"github.com/peapod-sh/peapod/e2e/kit"
	"github.com/peapod-sh/peapod/e2e/registry"
)

// criLab is a lab of one server and one client whose pods containerd runs.
type criLab struct {
	*kit.Lab
	kit.Kubectl
	runtime *containerd.Daemon
}

// newCRILab starts containerd in the client's network as soon as the lab has made that: the agent waits for it.
func newCRILab(t *testing.T) *criLab {
	t.Helper()
	reg, err := registry.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	d := newContainerd(t, reg.URL)
	type made struct {
		lab *kit.Lab
		err error
	}
	const name = "podtestcri"
	up := make(chan made, 1)
	go func() {
		l, err := kit.Up(kit.Options{Name: name, Servers: 1, Clients: 1, Args: []string{"--client-arg=--runtime=cri", "--client-arg=--cri-socket=" + d.Socket()}})
		up <- made{l, err}
	}()
	t.Cleanup(func() {
		if err := kit.Down(name); err != nil {
			t.Error(err)
		}
	})
	if err := d.Start(clientNamespace(t, name)); err != nil {
		t.Fatal(err)
	}
	loadPause(t, d)
	m := <-up
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(m.lab.Node(t, "client1").Dir, "agent.log"))
			t.Logf("the agent says: %s", log[max(0, len(log)-16<<10):])
		}
	})
	return &criLab{Lab: m.lab, Kubectl: m.lab.Kubectl("default"), runtime: d}
}

// clientNamespace waits until the lab that is being made has a network for its client.
func clientNamespace(t *testing.T, lab string) (namespace string) {
	t.Helper()
	kit.Eventually(t, limit, "the client's network", func() error {
		b, err := os.ReadFile(filepath.Join(kit.Directory(lab), "lab.json"))
		if err != nil {
			return err
		}
		var s struct{ Nodes []kit.Node }
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		for _, n := range s.Nodes {
			if n.Role == "client" {
				namespace = n.Namespace
			}
		}
		_, err = os.Stat("/run/netns/" + namespace)
		return err
	})
	return namespace
}

// A pod lives with containerd as it does with the embedded runtime.
func TestContainerRuntimeInterface(t *testing.T) {
	l := newCRILab(t)
	t.Run("node", l.showsTheRuntime)
	t.Run("deployment", l.runsADeployment)
	t.Run("streams", l.streams)
	t.Run("security", l.confines)
	t.Run("ends", l.hearsEnds)
	t.Run("kills", l.outlivesKills)
	t.Run("deaths", l.outlivesDeaths)
	t.Run("nothing is left", l.leavesNothing)
}

func (l *criLab) showsTheRuntime(t *testing.T) {
	kit.WantMatch(t, l.Must(t, "get", "nodes", "-o", "wide"), `client1 .*containerd://1\.\d+\.\d+`)
	kit.Eventually(t, limit, "the runtime's images in the Node object", func() error {
		return kit.Matches(l.Must(t, "get", "node", "client1", "-o", "jsonpath={.status.images}"), `peapod.test/busybox:1`)
	})
}

// runsADeployment: an image that containerd pulls, an address that the other pod reaches, logs, exec, port-forward.
func (l *criLab) runsADeployment(t *testing.T) {
	l.Must(t, "create", "deployment", "web", "--image=jocatalin/kubernetes-bootcamp:v1", "--replicas=2")
	l.Must(t, "expose", "deployment", "web", "--port=8080")
	l.Must(t, "rollout", "status", "deployment/web", "--timeout=60s")
	l.Must(t, "run", "demo", "--image=peapod/demo", "--image-pull-policy=Always", "--port=8080")
	ready(t, l.Kubectl, "demo")
	kit.Eventually(t, limit, "an event of the pull", func() error {
		return kit.Matches(l.Must(t, "get", "events", "--field-selector", "reason=Pulled"), `Successfully pulled image "jocatalin/kubernetes-bootcamp:v1"`)
	})
	node := strings.TrimSpace(l.Must(t, "get", "node", "client1", "-o", "jsonpath={.spec.podCIDR}"))
	_, cidr, err := net.ParseCIDR(node)
	if err != nil {
		t.Fatal(err)
	}
	ips := strings.Fields(l.Must(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(ips) != 2 || !cidr.Contains(net.ParseIP(ips[0])) || !cidr.Contains(net.ParseIP(ips[1])) {
		t.Fatalf("the pods have the addresses %v, want two of %s", ips, cidr)
	}
	kit.WantMatch(t, l.Must(t, "exec", "demo", "--", "wget", "-q", "-O", "-", "http://web:8080/"), `Hello Kubernetes bootcamp`)
	kit.WantMatch(t, l.Must(t, "exec", "demo", "--", "cat", "/etc/hosts"), `Written by Peapod`)
	l.forwards(t)
	apply(t, l.Kubectl, `apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "jocatalin/kubernetes-bootcamp:v1", command: [sleep, "1000"]}]
`)
	ready(t, l.Kubectl, "host")
	kit.WantMatch(t, l.Must(t, "exec", "host", "--", "ip", "-4", "-o", "address"), regexp.QuoteMeta(l.Node(t, "client1").Address))
	l.Must(t, "delete", "pod", "host")
	l.Must(t, "delete", "deployment,service", "web")
	l.Must(t, "wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")
}

// forwards reaches a port of a pod through port-forward.
func (l *criLab) forwards(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := l.Command(ctx, "port-forward", "pod/demo", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	var port int
	if _, err := fmt.Fscanf(out, "Forwarding from 127.0.0.1:%d -> 8080\n", &port); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "an answer through the forwarded port", func() error {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	})
}

const echo = `apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  restartPolicy: Never
  containers:
  - name: echo
    image: peapod/demo
    stdin: true
    stdinOnce: true
    command: [sh, -c, "echo ready; while read line; do echo got $line; done; echo end of input"]
    env: [{name: GREETING, value: hello}]
`

// streams: a log, the input of exec and of attach, exit codes.
func (l *criLab) streams(t *testing.T) {
	apply(t, l.Kubectl, echo)
	ready(t, l.Kubectl, "echo")
	l.Want(t, "hello", "exec", "echo", "--", "printenv", "GREETING")
	l.In("through\n").Want(t, "through", "exec", "-i", "echo", "--", "cat")
	if r := l.Try("exec", "echo", "--", "sh", "-c", "echo wrong >&2; exit 42"); r.Code != 42 || !strings.Contains(r.Err, "wrong") {
		t.Errorf("a command that fails: %+v", r)
	}
	kit.WantMatch(t, l.In("one\ntwo\n").Must(t, "attach", "-i", "echo"), `(?s)got one.*got two.*end of input`)
	kit.Eventually(t, limit, "what was attached is in the log", func() error {
		return kit.Matches(l.Must(t, "logs", "echo"), `(?s)ready.*got one.*got two.*end of input`)
	})
	l.Must(t, "delete", "pod", "echo")
}

const confined = `apiVersion: v1
kind: Pod
metadata: {name: confined}
spec:
  shareProcessNamespace: true
  securityContext: {runAsUser: 1234, runAsGroup: 2345, fsGroup: 3456, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: peapod/demo
    command: [sleep, "1000"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  - name: neighbour
    image: peapod/demo
    command: [sleep, "2000"]
  volumes: [{name: scratch, emptyDir: {}}]
`

func (l *criLab) confines(t *testing.T) {
	apply(t, l.Kubectl, confined)
	ready(t, l.Kubectl, "confined")
	status := l.Must(t, "exec", "confined", "-c", "c", "--", "cat", "/proc/self/status")
	kit.WantMatch(t, status, `^Uid:\s+1234\s`, `^Gid:\s+2345\s`, `^Groups:.*\b3456\b`, `^CapEff:\s+0+$`, `^NoNewPrivs:\s+1`, `^Seccomp:\s+2`)
	kit.WantMatch(t, l.Must(t, "exec", "confined", "-c", "c", "--", "ps"), `sleep 2000`)
	if r := l.Try("exec", "confined", "-c", "c", "--", "touch", "/forbidden"); r.Code == 0 {
		t.Error("the root file system can be written")
	}
	l.Must(t, "exec", "confined", "-c", "c", "--", "touch", "/scratch/allowed")
	if r := l.Try("exec", "demo", "--", "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"); r.Code == 0 {
		t.Error("a container writes the node's /proc/sys")
	}
	apply(t, l.Kubectl, strings.NewReplacer("name: confined", "name: own-users", "shareProcessNamespace: true", "hostUsers: false").Replace(confined))
	kit.Eventually(t, limit, "a pod that the runtime cannot confine as asked says so", func() error {
		return kit.Matches(l.Must(t, "get", "events", "--field-selector", "involvedObject.name=own-users"), `hostUsers: false.*embedded runtime`)
	})
	l.Must(t, "delete", "pod", "confined", "own-users", "--grace-period=1")
}

const restless = `apiVersion: v1
kind: Pod
metadata: {name: restless}
spec:
  restartPolicy: OnFailure
  initContainers:
  - {name: first, image: peapod/demo, command: [sh, -c, "echo first"]}
  containers:
  - name: c
    image: peapod/demo
    command: [sh, -c, "echo so long > /dev/termination-log; test -e /mem/seen && exit 0; touch /mem/seen; exit 3"]
    volumeMounts: [{name: mem, mountPath: /mem}]
  volumes: [{name: mem, emptyDir: {}}]
`

// hearsEnds: init containers, exit codes, restarts, last words, previous logs.
func (l *criLab) hearsEnds(t *testing.T) {
	apply(t, l.Kubectl, restless)
	awaitField(t, l.Kubectl, "restless", ".status.phase", "Succeeded")
	l.Want(t, "1 3 so long", "get", "pod", "restless", "-o",
		"jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].lastState.terminated.exitCode} {.status.containerStatuses[0].lastState.terminated.message}")
	l.Want(t, "first", "logs", "restless", "-c", "first")
	l.Must(t, "delete", "pod", "restless")
}

// outlivesDeaths: the agent is killed and a container ends meanwhile; then containerd is.
func (l *criLab) outlivesDeaths(t *testing.T) {
	apply(t, l.Kubectl, strings.ReplaceAll(`apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: peapod/demo, command: [sh, -c, "while ! test -e /tmp/end; do sleep 0.1; done; exit 7"]}]
`, "NAME", "short"))
	ready(t, l.Kubectl, "short")
	began := l.Must(t, "get", "pod", "demo", "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt}")
	l.Do(t, "kill-agent", "client1")
	if out, err := l.execWithRuntime("short", "touch", "/tmp/end"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.Do(t, "restart", "client1")
	awaitField(t, l.Kubectl, "short", ".status.containerStatuses[0].state.terminated.exitCode", "^7$")
	l.Must(t, "delete", "pod", "short")
	// A sandbox that is being removed when containerd dies may keep its shim: that is containerd's affair.
	kit.Eventually(t, limit, "containerd holds nothing of the pod that was deleted", func() error {
		out, err := l.runtime.Ctr("containers", "list", "--quiet", `labels."io.kubernetes.pod.name"==short`)
		if err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})

	l.runtime.Kill()
	if err := l.runtime.Start(l.Node(t, "client1").Namespace); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "a command after containerd's restart", func() error {
		if r := l.Try("exec", "demo", "--", "true"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	l.Want(t, began, "get", "pod", "demo", "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt}")
	l.Want(t, "0", "get", "pod", "demo", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
}

// outlivesKills: the agent is killed while pods are made and removed; all of them come, and none is there twice.
func (l *criLab) outlivesKills(t *testing.T) {
	l.Must(t, "create", "deployment", "many", "--image=peapod/demo", "--replicas=5", "--", "sleep", "1000")
	for i := range 4 {
		// Whatever the agent is in the midst of: there is no moment to wait for.
		time.Sleep(time.Duration(100+150*i) * time.Millisecond)
		l.Do(t, "kill-agent", "client1")
		l.Do(t, "restart", "client1")
		if i == 2 {
			l.Must(t, "scale", "deployment", "many", "--replicas=2")
		}
	}
	l.Must(t, "rollout", "status", "deployment/many", "--timeout=60s")
	kit.Eventually(t, limit, "containerd runs what the cluster wants and no more", func() error {
		want := len(strings.Fields(l.Must(t, "get", "pods", "-l", "app=many", "-o", "name")))
		out, err := l.runtime.Ctr("containers", "list", "--quiet", `labels."io.kubernetes.container.name"==demo,labels."io.cri-containerd.kind"==container,labels."io.kubernetes.pod.name"~=many`)
		if got := len(strings.Fields(out)); err != nil || want != 2 || got != want {
			return fmt.Errorf("%d containers of %d pods: %v", got, want, err)
		}
		return nil
	})
	l.Must(t, "delete", "deployment", "many")
}

// execWithRuntime runs a command in a pod's container by containerd's own tool, as no agent is there to ask.
func (l *criLab) execWithRuntime(pod string, command ...string) (string, error) {
	out, err := l.runtime.Ctr("containers", "list", "--quiet", `labels."io.kubernetes.pod.name"==`+pod+`,labels."io.cri-containerd.kind"==container`)
	ids := strings.Fields(out)
	if err != nil || len(ids) != 1 {
		return out, errors.Join(err, fmt.Errorf("%d containers", len(ids)))
	}
	return l.runtime.Ctr(append([]string{"tasks", "exec", "--exec-id", "e2e", ids[0]}, command...)...)
}

// leavesNothing: with its pods go containerd's containers, their cgroups and their network.
func (l *criLab) leavesNothing(t *testing.T) {
	l.Must(t, "delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
	kit.Eventually(t, limit, "containerd holds nothing more", func() error {
		out, err := l.runtime.Ctr("containers", "list", "--quiet")
		if err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	kit.Eventually(t, limit, "no cgroup of a pod is left", func() error {
		left, err := filepath.Glob("/sys/fs/cgroup/*/" + l.Node(t, "client1").Cgroup + "/pods/pods/*")
		var dirs []string
		for _, f := range left {
			if st, err := os.Stat(f); err == nil && st.IsDir() {
				dirs = append(dirs, f)
			}
		}
		if len(dirs) > 0 {
			return fmt.Errorf("%v", dirs)
		}
		return err
	})
	links, err := l.Exec(t, "client1", "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(links) {
		if strings.Contains(line, "peapod0") {
			t.Errorf("a pod's link is left: %s", line)
		}
	}
}
