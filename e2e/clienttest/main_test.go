package clienttest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed. patience is the same for clients that wait themselves.
const (
	limit    = 3 * time.Minute
	patience = "3m"
)

func TestMain(m *testing.M) {
	kit.Main(m, kit.Options{Name: "e2eclients", Servers: 3, Clients: 2})
}

func space(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	return l, l.Kubectl(l.MakeNamespace(t))
}

// tool is a program of e2e/clients that is used in one namespace.
type tool struct {
	path, namespace string
	env             []string
}

// helm of a version, "3" or "4", with directories of its own.
func helm(t *testing.T, l *kit.Lab, version, namespace string) tool {
	return tool{kit.ClientPath("helm" + version), namespace, []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + l.Kubeconfig, "HELM_NAMESPACE=" + namespace}}
}

// try runs a command that may fail.
func (c tool) try(args ...string) kit.Result {
	ctx, cancel := context.WithTimeout(context.Background(), limit+time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	code := 0
	if err := cmd.Run(); err != nil {
		errOut.WriteString(err.Error())
		code = -1
		if cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		}
	}
	return kit.Result{Out: out.String(), Err: errOut.String(), Code: code}
}

// must runs a command that may not fail, and returns its standard output.
func (c tool) must(t *testing.T, args ...string) string {
	t.Helper()
	r := c.try(args...)
	if r.Code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", c.path, strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

// rolledOut waits until all pods of a deployment are as it says.
func rolledOut(t *testing.T, k kit.Kubectl, name string) {
	t.Helper()
	kit.Eventually(t, limit, name+" is rolled out", func() error {
		return k.Try("rollout", "status", "deployment/"+name, "--timeout=30s").Failure()
	})
}
