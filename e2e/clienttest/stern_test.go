package clienttest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// talk has pods that say something in an init container and in two containers; the main one says more when it is told to go on.
const talk = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: talk}
spec:
  replicas: 2
  selector: {matchLabels: {app: talk}}
  template:
    metadata: {labels: {app: talk}}
    spec:
      terminationGracePeriodSeconds: 0
      initContainers:
      - {name: prepare, image: peapod/demo, command: [sh, -c, echo prepared]}
      containers:
      - {name: main, image: peapod/demo, command: [sh, -c, 'for i in $(seq 5); do echo line $i; done; until [ -e /tmp/go ]; do sleep 0.1; done; echo gone; sleep 1000']}
      - {name: side, image: peapod/demo, command: [sh, -c, 'echo aside; sleep 1000']}
`

// said is a line of stern's JSON.
type said struct {
	Message       string
	NodeName      string
	Namespace     string
	PodName       string
	ContainerName string
	Labels        map[string]string
}

// TestStern: stern reads many pods' logs at once, and follows those that come while it does.
func TestStern(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	stern := tool{kit.ClientPath("stern"), k.Namespace, []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + l.Kubeconfig}}
	k.In(talk).Must(t, "apply", "-f", "-")
	rolledOut(t, k, "talk")
	kit.Eventually(t, limit, "all containers have spoken", func() error {
		logs := k.Must(t, "logs", "-l", "app=talk", "--all-containers")
		return kit.Matches(logs, `\A(?s:.*line 5.*line 5.*)\z`)
	})
	sternReads(t, stern, k)
	sternFollows(t, stern, k)
}

// sternReads: with --no-follow stern ends by itself, and shows of each container what it is asked for.
func sternReads(t *testing.T, stern tool, k kit.Kubectl) {
	t.Helper()
	read := func(args ...string) string {
		return stern.must(t, append(args, "-n", k.Namespace, "--no-follow")...)
	}
	pods := strings.Fields(k.Must(t, "get", "pods", "-l", "app=talk", "-o", "jsonpath={.items[*].metadata.name}"))
	whole := read("talk", "--tail", "2")
	for _, pod := range pods {
		kit.WantMatch(t, whole, `^`+pod+` main line 4\n(.*\n)*`+pod+` main line 5$`, `^`+pod+` side aside$`, `^`+pod+` prepare prepared$`)
	}
	if got := strings.Count(whole, "\n"); got != 4*len(pods) {
		t.Errorf("%d lines, want %d:\n%s", got, 4*len(pods), whole)
	}
	lines := strings.Split(strings.TrimSpace(read("-l", "app=talk", "-c", "main", "-o", "json", "--tail", "1")), "\n")
	if len(lines) != len(pods) {
		t.Errorf("JSON of %d pods, want %d: %q", len(lines), len(pods), lines)
	}
	for _, line := range lines {
		var s said
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		k.Want(t, s.NodeName, "get", "pod", s.PodName, "-o", "jsonpath={.spec.nodeName}")
		if s.Message != "line 5" || s.ContainerName != "main" || s.Namespace != k.Namespace || s.Labels["app"] != "talk" {
			t.Errorf("%+v", s)
		}
	}
	if got, want := read("deployment/talk", "-c", "^side$", "-o", "raw"), strings.Repeat("aside\n", len(pods)); got != want {
		t.Errorf("a deployment's side containers: %q, want %q", got, want)
	}
	if got, want := read("talk", "--container-state", "terminated", "-o", "raw"), strings.Repeat("prepared\n", len(pods)); got != want {
		t.Errorf("what has ended: %q, want %q", got, want)
	}
	if got := read("-l", "app=other"); got != "" {
		t.Errorf("of no pod: %q", got)
	}
	if r := stern.try("deployment/none", "-n", k.Namespace, "--no-follow"); r.Code != 1 {
		t.Errorf("a deployment that is not there: exit code %d, %s", r.Code, r.Err)
	} else {
		kit.WantMatch(t, r.Err, `deployments.apps "none" not found`)
	}
}

// sternFollows: new lines, the lines of pods that come, and the end of those that go.
func sternFollows(t *testing.T, stern tool, k kit.Kubectl) {
	t.Helper()
	old := k.Must(t, "get", "pods", "-l", "app=talk", "-o", "jsonpath={.items[0].metadata.name}")
	out := stern.start(t, "-l", "app=talk", "-c", "main", "-n", k.Namespace)
	sees := func(expression string) {
		t.Helper()
		kit.Eventually(t, limit, "stern's output", func() error {
			text, err := os.ReadFile(out)
			if err != nil {
				return err
			}
			return kit.Matches(string(text), expression)
		})
	}
	sees(`^` + old + ` main line 5$`)
	k.Must(t, "exec", old, "-c", "main", "--", "touch", "/tmp/go")
	sees(`^` + old + ` main gone$`)
	k.Must(t, "delete", "pod", old, "--timeout=50s")
	sees(`^- ` + old + ` › main$`)
	rolledOut(t, k, "talk")
	fresh := k.Must(t, "get", "pods", "-l", "app=talk", "--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[1].metadata.name}")
	sees(`^` + fresh + ` main line 1\n(.*\n)*` + fresh + ` main line 5$`)
}

// start runs a command until the test ends, and returns the file of all of its output.
func (c tool) start(t *testing.T, args ...string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), c.path, args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Wait(), out.Close() })
	return out.Name()
}
