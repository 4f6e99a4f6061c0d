package kubectltest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// ofLabs matches what labs make, which come and go while this test runs.
var ofLabs = regexp.MustCompile(`pplab\d|\bpl\d+-|\bpp-|peapod-lab|10\.201\.|10\.203\.77|fe80::`)

// traces are what a cluster might leave on the machine; those of the lab are the lab's own.
func traces(t *testing.T) []string {
	t.Helper()
	var out []string
	run := func(label string, args ...string) {
		b, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			if line != "" && !ofLabs.MatchString(line) {
				out = append(out, label+" "+line)
			}
		}
	}
	run("netns", "ip", "netns", "list")
	run("link", "sh", "-c", "ip -br link | cut -d' ' -f1")
	run("route", "ip", "route", "show", "table", "all")
	run("rule", "ip", "rule")
	run("process", "sh", "-c", "ps -eo args | grep '[p]eapod dev' || true")
	for _, glob := range []string{"/tmp/peapod*", "/run/peapod*", "/sys/fs/cgroup/peapod-dev*/*", "/sys/fs/cgroup/*/peapod-dev*/*", "/var/lib/peapod-dev*"} {
		files, _ := filepath.Glob(glob)
		for _, f := range files {
			if i, err := os.Stat(f); err == nil && (i.IsDir() || !strings.Contains(f, "cgroup")) {
				out = append(out, "file "+f)
			}
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(f[4], "peapod-dev") {
			out = append(out, "mount "+f[4])
		}
	}
	slices.Sort(out)
	return out
}

// TestDev starts a whole cluster in one process, runs pods in it, and ends it with SIGTERM. It runs alone, because it
// looks at the whole machine before and after.
func TestDev(t *testing.T) {
	before := traces(t)
	work := t.TempDir()
	kubeconfig := filepath.Join(work, "kubeconfig")
	cmd := exec.Command(kit.Peapod(), "dev", "--bind", "127.0.0.1", "--api-port", "26943", "--rpc-port", "27940", "--gossip-port", "27941", "--kubeconfig-out", kubeconfig)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}()
	var said []string
	for s := bufio.NewScanner(out); s.Scan(); {
		said = append(said, s.Text())
		if strings.Contains(s.Text(), "Ctrl-C") {
			break
		}
	}
	kit.WantMatch(t, strings.Join(said, "\n"), `^Peapod is ready after \d+\.\d s\.$`, `^  export KUBECONFIG=/`)
	t.Log(said[0])
	l := &kit.Lab{Dir: work, Kubeconfig: kubeconfig}
	k := l.Kubectl("default")
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--port=8080", "--replicas=2")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	k.Must(t, "expose", "deploy/web", "--port=80", "--target-port=8080")
	pods := l.ReadyPods(t, "default", "app=web", 2, limit)
	kit.Eventually(t, limit, "the service", func() error {
		r := k.Try("exec", pods[0].Name, "--", "wget", "-qO-", "-T", "3", "http://web")
		if r.Code != 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	vip := k.Must(t, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
	if _, err := kit.Curl("", "http://"+vip); err != nil {
		t.Errorf("the service from the host: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("peapod dev ended with %v", err)
	}
	for _, trace := range traces(t) {
		if !slices.Contains(before, trace) {
			t.Errorf("peapod dev left %s", trace)
		}
	}
}
