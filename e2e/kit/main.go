package kit

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/peapod-sh/peapod/e2e/registry"
)

// childVariable marks the process that runs the tests, and tells it where the lab is.
const childVariable = "PEAPOD_E2E_LAB"

// registryVariable tells the tests where the registry is.
const registryVariable = "PEAPOD_E2E_REGISTRY"

// Main starts a lab, runs the package's tests in a child process, ends the lab, and exits.
func Main(m *testing.M, o Options) {
	if os.Getenv(childVariable) != "" {
		os.Exit(m.Run())
	}
	code, err := guard(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// guard is the parent: it outlives whatever happens to the tests.
func guard(o Options) (code int, err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	reg, err := registry.Start()
	if err != nil {
		return 1, fmt.Errorf("starting the registry: %w", err)
	}
	defer reg.Close()
	o.Mirrors = append(o.Mirrors, "docker.io="+reg.URL, "k8s.gcr.io="+reg.GCR, "tokens.example="+reg.Tokens)
	l, err := Up(o)
	if err != nil {
		return 1, fmt.Errorf("starting the lab: %w", err)
	}
	defer func() {
		if downErr := l.Down(); downErr != nil && err == nil {
			err = fmt.Errorf("ending the lab: %w", downErr)
		}
	}()
	return runChild(l, reg, signals)
}

// Registry is the registry that stands in for docker.io and others, as the package's tests reach it.
func Registry(t testing.TB) registry.Client {
	t.Helper()
	url := os.Getenv(registryVariable)
	if url == "" {
		t.Fatal("this package's TestMain does not call kit.Main")
	}
	return registry.Client{URL: url}
}

func runChild(l *Lab, reg *registry.Registry, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), childVariable+"="+l.Dir, registryVariable+"="+reg.URL)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // the child may have gone, which is what is wanted
		case <-done:
			// Commands that a panic has orphaned are of the child's process group.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			if code := cmd.ProcessState.ExitCode(); code >= 0 {
				return code, nil
			}
			return 1, fmt.Errorf("the tests ended: %v", cmd.ProcessState)
		}
	}
}
