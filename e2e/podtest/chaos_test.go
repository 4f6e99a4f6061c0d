package podtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// chaosKills is how often the agent is killed, chaosPods how many pods live and end meanwhile.
const (
	chaosKills = 25
	chaosPods  = 40
)

// The agent is killed at random moments of many pods' lives: of their making, running, ending and deletion. No pod is lost
// or run twice, none that runs is restarted, and when all are deleted nothing of them is left on the node.
func TestAgentKilledAtRandom(t *testing.T) {
	l, err := kit.Up(kit.Options{Name: "podchaos", Servers: 1, Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	}()
	k, node := l.Kubectl("default"), l.Node(t, "client1")
	defer func() {
		if t.Failed() {
			tellTheNode(t, k, node)
		}
	}()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	before := traces(t, l, node)
	out := t.TempDir()
	k.Must(t, "create", "secret", "generic", "s", "--from-literal=a=b")
	k.Must(t, "create", "deployment", "steady", "--image=peapod/demo", "--replicas=3")
	k.Must(t, "rollout", "status", "deployment/steady", "--timeout=60s")

	for what, now := range traces(t, l, node) {
		if len(now) <= len(before[what]) {
			t.Errorf("pods run and no %s of theirs is seen: this test could not fail", what)
		}
	}

	done := make(chan int)
	go func() { done <- killAgents(node, chance.Uint64()) }()
	codes := map[string]int{}
	for i := range chaosPods {
		name := fmt.Sprint("p", i)
		codes[name] = chance.IntN(3)
		apply(t, k, chaosPod(name, out, chance.IntN(1500), codes[name]))
		if i%5 == 4 { // one in five is deleted in the midst of whatever it does
			delete(codes, name)
			k.Must(t, "delete", "pod", name, "--grace-period=1", "--wait=false")
		}
		time.Sleep(time.Duration(chance.IntN(600)) * time.Millisecond)
	}
	t.Logf("the agent was killed %d times", <-done)

	for name, code := range codes {
		phase := "Succeeded"
		if code != 0 {
			phase = "Failed"
		}
		awaitField(t, k, name, ".status.phase", "^(Succeeded|Failed)$")
		if got := k.Must(t, "get", "pod", name, "-o", "jsonpath={.status.phase}"); got != phase {
			t.Fatalf("%s is to exit with %d and its status is %s", name, code, k.Must(t, "get", "pod", name, "-o", "jsonpath={.status}"))
		}
		awaitField(t, k, name, ".status.containerStatuses[0].state.terminated.exitCode", fmt.Sprintf("^%d$", code))
		b, err := os.ReadFile(filepath.Join(out, name))
		if runs := bytes.Count(b, []byte("\n")); err != nil || runs != 1 {
			t.Errorf("%s ran %d times, %v", name, runs, err)
		}
	}
	kit.WantMatch(t, k.Must(t, "get", "pods", "-l", "app=steady", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"), `^0 0 0$`)
	k.Must(t, "delete", "deployment", "steady")
	k.Must(t, "delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
	kit.Eventually(t, limit, "the node as it was before", func() error {
		for what, now := range traces(t, l, node) {
			for _, trace := range now {
				if !strings.Contains("\n"+strings.Join(before[what], "\n")+"\n", "\n"+trace+"\n") {
					return fmt.Errorf("%s left behind: %s", what, trace)
				}
			}
		}
		return nil
	})
}

// tellTheNode prints what a failure is to be understood by: the pods, and what the node's agents have complained of.
func tellTheNode(t *testing.T, k kit.Kubectl, node kit.Node) {
	t.Helper()
	t.Logf("pods:\n%s", k.Must(t, "get", "pods", "-o",
		"custom-columns=NAME:.metadata.name,PHASE:.status.phase,STATE:.status.containerStatuses[0].state"))
	b, err := os.ReadFile(filepath.Join(node.Dir, "agent.log"))
	if err != nil {
		t.Log(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "[WARN]") || strings.Contains(line, "[ERROR]") || strings.Contains(line, "node agent") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func chaosPod(name, out string, milliseconds, code int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  nodeName: client1
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: peapod/demo
    command: [sh, -c, "echo run >> /out/%[1]s; sleep %[3]d.%03[4]d; exit %[5]d"]
    volumeMounts: [{name: out, mountPath: /out}, {name: mem, mountPath: /mem}, {name: sec, mountPath: /sec}]
  volumes:
  - {name: out, hostPath: {path: %[2]s}}
  - {name: mem, emptyDir: {medium: Memory}}
  - {name: sec, secret: {secretName: s}}
`, name, out, milliseconds/1000, milliseconds%1000, code)
}

// killAgents kills the node's agent again and again; its supervisor starts it again each time.
func killAgents(node kit.Node, seed uint64) (kills int) {
	chance := rand.New(rand.NewPCG(seed, 1))
	for range chaosKills {
		time.Sleep(time.Duration(200+chance.IntN(1300)) * time.Millisecond)
		if pid := agentOf(node); pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			kills++
		}
	}
	return kills
}

// agentOf is the process of the node's agent; 0 if there is none at the moment. Between its making and its program a child of the
// agent looks like it, and to kill that is to kill a container.
func agentOf(node kit.Node) int {
	alike := map[int]bool{}
	for pid, args := range processes() {
		if len(args) > 1 && args[1] == "agent" && strings.Contains(strings.Join(args, " ")+" ", "--data-dir "+filepath.Join(node.Dir, "data")+" ") &&
			supervised(pid) {
			alike[pid] = true
		}
	}
	for pid := range alike {
		if parent := parentOf(pid); parent > 0 && !alike[parent] {
			return pid
		}
	}
	return 0
}

// parentOf is field 4 of /proc/PID/stat; 0 if there is no such process.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	parent, _ := strconv.Atoi(f[1])
	return parent
}

// supervised says whether a process is a supervisor's child, as the agent is that has been started and not only asked for.
func supervised(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(b, []byte("PEAPOD_SUPERVISOR="))
}

func processes() map[int][]string {
	out := map[int][]string{}
	list, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil && len(b) > 0 {
			out[pid] = strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		}
	}
	return out
}

// traces are what pods leave on a node while they live: links, mounts, cgroups, processes and files.
func traces(t *testing.T, l *kit.Lab, node kit.Node) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	links, err := l.Exec(t, node.Name, "ip", "-o", "link")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(links) {
		if f := strings.Fields(line); len(f) > 1 {
			out["link"] = append(out["link"], strings.TrimSuffix(strings.SplitN(f[1], "@", 2)[0], ":"))
		}
	}
	if pid := agentOf(node); pid > 0 {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], node.Dir) {
				out["mount"] = append(out["mount"], f[1])
			}
		}
	}
	cgroups, err := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", node.Cgroup, "pods/pods/*"))
	if err != nil {
		t.Fatal(err)
	}
	unified, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", node.Cgroup, "pods/pods/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(cgroups, unified...) {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			out["cgroup"] = append(out["cgroup"], dir)
		}
	}
	for _, args := range processes() {
		if args[0] == "peapod-pause" && strings.HasPrefix(args[len(args)-1], node.Dir) {
			out["process"] = append(out["process"], strings.Join(args, " "))
		}
	}
	for _, dir := range []string{"pods", "logs/pods", "runtime/pods", "runtime/containers", "volumes"} {
		list, err := os.ReadDir(filepath.Join(node.Dir, "data/node", dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range list {
			out["file"] = append(out["file"], filepath.Join(dir, e.Name()))
		}
	}
	return out
}
