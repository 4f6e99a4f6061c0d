package kubectltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/peapod-sh/peapod/e2e/kit"
	"github.com/peapod-sh/peapod/e2e/registry"
)

// on runs a pod on a node.
func on(t *testing.T, k kit.Kubectl, node, name, script string) {
	t.Helper()
	k.In(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, %q]}
`, name, node, script)).Must(t, "apply", "-f", "-")
}

// TestAgentKilled ends a node's agent with SIGKILL and starts it again. It runs alone, since a node is away.
func TestAgentKilled(t *testing.T) {
	l, k := space(t)
	on(t, k, "client1", "count", "i=0; while :; do i=$((i+1)); echo line $i; usleep 2000 2>/dev/null || sleep 0.002; done")
	on(t, k, "client1", "ends", "until [ -e /tmp/go ]; do sleep 0.05; done; echo last words; exit 9")
	k.Must(t, "wait", "--for=condition=Ready", "pod/count", "pod/ends", "--timeout=30s")
	const asked = "jsonpath={.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}"
	before := k.Must(t, "get", "pod", "count", "-o", asked)
	// The agent is gone when it ends: a shell in the background touches the file a moment later.
	k.Must(t, "exec", "ends", "--", "sh", "-c", "(sleep 1; touch /tmp/go) >/dev/null 2>&1 &")
	l.Do(t, "kill-agent", "client1")
	time.Sleep(1500 * time.Millisecond) // the container ends while nobody but the supervisor looks
	l.Do(t, "restart", "client1")
	kit.Eventually(t, limit, "the exit code", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "ends", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}"), `^Failed 9$`)
	})
	kit.Eventually(t, limit, "the node", func() error {
		return kit.Matches(k.Must(t, "get", "node", "client1"), `^client1 +Ready `)
	})
	k.Want(t, "last words", "logs", "ends")
	k.Want(t, before, "get", "pod", "count", "-o", asked)
	lines := strings.Split(strings.TrimSpace(k.Must(t, "logs", "count")), "\n")
	for i, line := range lines {
		if line != "line "+strconv.Itoa(i+1) {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
	t.Logf("%d lines, none lost", len(lines))
	again := lines[len(lines)-1]
	kit.Eventually(t, limit, "the log goes on", func() error {
		if out := strings.TrimSpace(k.Must(t, "logs", "count", "--tail=1")); out == again {
			return fmt.Errorf("it stands at %s", out)
		}
		return nil
	})
	k.Want(t, "hi", "exec", "count", "--", "echo", "hi")
}

// TestRestartStartsOneAgent: a supervisor starts an agent again that was killed, but not in a lab that means to see the node without one.
func TestRestartStartsOneAgent(t *testing.T) {
	l, k := space(t)
	log := filepath.Join(l.Node(t, "client1").Dir, "agent.log")
	starts := func() int {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), " starting: version=")
	}
	for range 5 {
		before := starts()
		l.Do(t, "kill-agent", "client1")
		time.Sleep(200 * time.Millisecond) // a supervisor waits 50 ms
		if n := starts() - before; n != 0 {
			t.Errorf("%d agents were started by themselves", n)
		}
		l.Do(t, "restart", "client1")
		kit.Eventually(t, limit, "an agent starts", func() error {
			if starts() == before {
				return errors.New("none has")
			}
			return nil
		})
		kit.Eventually(t, limit, "the node", func() error {
			return kit.Matches(k.Must(t, "get", "node", "client1"), `^client1 +Ready `)
		})
		if n := starts() - before; n != 1 {
			t.Errorf("%d agents were started", n)
		}
	}
}

func TestImageLoad(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	images, err := registry.Images()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.com/by/hand:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, images["library/busybox:latest"]); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(l.Node(t, "client2").Dir, "data")
	peapod := func(args ...string) string {
		out, err := exec.Command(kit.Peapod(), append(args, "--data-dir", data)...).CombinedOutput()
		if err != nil {
			t.Fatalf("peapod %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	kit.WantMatch(t, peapod("image", "load", file), `example.com/by/hand:1`)
	kit.WantMatch(t, peapod("image", "list"), `example.com/by/hand +1|example.com/by/hand:1`)
	k.Must(t, "run", "loaded", "--image=example.com/by/hand:1", "--restart=Never", `--overrides={"spec":{"nodeName":"client2"}}`, "--", "echo", "loaded")
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/loaded", "--timeout=20s")
	k.Want(t, "loaded", "logs", "loaded")
}
