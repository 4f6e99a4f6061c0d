package kit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandTimeout ends a command that hangs.
const commandTimeout = 60 * time.Second

// Result of a command.
type Result struct {
	Out, Err string // standard output and standard error
	Code     int    // exit code; -1 if a signal or the time limit ended it
}

// Failure is nil if the command ended well.
func (r Result) Failure() error {
	if r.Code != 0 {
		return fmt.Errorf("exit code %d: %s", r.Code, r.Err)
	}
	return nil
}

// Kubectl runs kubectl as users do, in one namespace.
type Kubectl struct {
	lab       *Lab
	Namespace string
	Stdin     string
	Env       []string
	// Kubeconfig is another than the administrator's.
	Kubeconfig string
}

// Kubectl is a client for a namespace.
func (l *Lab) Kubectl(namespace string) Kubectl { return Kubectl{lab: l, Namespace: namespace} }

// In gives the command a standard input.
func (k Kubectl) In(text string) Kubectl {
	k.Stdin = text
	return k
}

// Using is the client of somebody with a kubeconfig of his own.
func (k Kubectl) Using(kubeconfig string) Kubectl {
	k.Kubeconfig = kubeconfig
	return k
}

// With adds environment variables.
func (k Kubectl) With(env ...string) Kubectl {
	k.Env = append(append([]string{}, k.Env...), env...)
	return k
}

// Command is the command, not started. Flags that concern the client go first, so that "--" can follow.
func (k Kubectl) Command(ctx context.Context, args ...string) *exec.Cmd {
	all := []string{"--kubeconfig", cmp.Or(k.Kubeconfig, k.lab.Kubeconfig)}
	if k.Namespace != "" {
		all = append(all, "-n", k.Namespace)
	}
	cmd := exec.CommandContext(ctx, KubectlPath(), append(all, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+k.lab.Dir)
	cmd.Env = append(cmd.Env, k.Env...)
	if k.Stdin != "" {
		cmd.Stdin = strings.NewReader(k.Stdin)
	}
	return cmd
}

// Try runs a command that may fail.
func (k Kubectl) Try(args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := k.Command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	code := 0
	if err := cmd.Run(); err != nil {
		code = -1
		if cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		}
	}
	return Result{out.String(), errOut.String(), code}
}

// Must runs a command that may not fail, and returns its standard output.
func (k Kubectl) Must(t testing.TB, args ...string) string {
	t.Helper()
	r := k.Try(args...)
	if r.Code != 0 {
		t.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

// Restart rolls a workload anew. kubectl does so once a second, since it writes down the second.
func (k Kubectl) Restart(t testing.TB, workload string) {
	t.Helper()
	Eventually(t, commandTimeout, "rollout restart "+workload, func() error {
		if r := k.Try("rollout", "restart", workload); r.Code != 0 {
			if !strings.Contains(r.Err, "within the past second") {
				t.Fatalf("kubectl rollout restart %s: %s", workload, r.Err)
			}
			return errors.New(r.Err)
		}
		return nil
	})
}

// Fail runs a command that must fail, and returns what it said on standard error.
func (k Kubectl) Fail(t testing.TB, args ...string) string {
	t.Helper()
	r := k.Try(args...)
	if r.Code == 0 {
		t.Fatalf("kubectl %s succeeded, it should not\n%s%s", strings.Join(args, " "), r.Out, r.Err)
	}
	return r.Err
}

// Want runs a command and compares its whole output, but for space at the ends.
func (k Kubectl) Want(t testing.TB, want string, args ...string) {
	t.Helper()
	if got := strings.TrimSpace(k.Must(t, args...)); got != strings.TrimSpace(want) {
		t.Errorf("kubectl %s:\ngot  %s\nwant %s", strings.Join(args, " "), got, want)
	}
}

// Becomes waits until a command's output is one, but for space at the ends.
func (k Kubectl) Becomes(t testing.TB, limit time.Duration, want string, args ...string) {
	t.Helper()
	Eventually(t, limit, strings.Join(args, " ")+" becomes "+want, func() error {
		if got := k.Try(args...); got.Code != 0 || strings.TrimSpace(got.Out) != want {
			return fmt.Errorf("it is %q %s", got.Out, got.Err)
		}
		return nil
	})
}
