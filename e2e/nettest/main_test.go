package nettest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

const web = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: peapod/demo}]}
---`

// everyPod asks again and again until each pod has answered and has seen the client as the beginning of an address that is given for it.
func everyPod(t *testing.T, pods []corev1.Pod, what string, client func(corev1.Pod) string, get func() (string, error)) {
	t.Helper()
	seen := map[string]bool{}
	kit.Eventually(t, limit, what+" leads to every pod", func() error {
		out, err := get()
		for _, p := range pods {
			if strings.Contains(out, p.Name) && strings.Contains(out, "client      "+client(p)) {
				seen[p.Name] = true
			}
		}
		if err == nil && len(seen) < len(pods) {
			err = fmt.Errorf("%v have answered; the last said %s", seen, out)
		}
		return err
	})
}

// up starts a lab of one server for the test, and shows the ends of the agents' logs if it fails.
func up(t *testing.T, name string, clients int, args ...string) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	t.Cleanup(func() {
		if err := kit.Down(name); err != nil {
			t.Error(err)
		}
	})
	l, err := kit.Up(kit.Options{Name: name, Servers: 1, Clients: clients, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range l.Nodes {
			if log, _ := os.ReadFile(filepath.Join(n.Dir, "agent.log")); t.Failed() {
				t.Logf("%s says: %s", n.Name, log[max(0, len(log)-8<<10):])
			}
		}
	})
	return l, l.Kubectl(l.MakeNamespace(t))
}

// says wants an answer that holds a text, asked from a network namespace; "" is this machine's.
func says(t *testing.T, from, url, want string) (said string) {
	t.Helper()
	kit.Eventually(t, limit, url+" answers from "+from, func() error {
		out, err := kit.Curl(from, url)
		if err == nil && !strings.Contains(out, want) {
			err = errors.New(out)
		}
		said = out
		return err
	})
	return said
}
