package nettest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

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
