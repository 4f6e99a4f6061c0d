package kubectltest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func TestBadManifests(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	bad := func(change ...string) kit.Kubectl {
		return k.In(strings.NewReplacer(change...).Replace(deployment("web", 1, "")))
	}
	kit.WantMatch(t, bad("replicas: 1", "replicaz: 1").Fail(t, "apply", "-f", "-"),
		`^Error from server \(BadRequest\): error when creating "STDIN": Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replicaz"$`)
	kit.WantMatch(t, bad("replicas: 1", "replicas: one").Fail(t, "apply", "-f", "-"),
		`^Error from server \(BadRequest\): error when creating "STDIN": Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32$`)
	r := bad("replicas: 1", "replicaz: 1").Try("apply", "--validate=warn", "-f", "-", "--dry-run=server")
	if r.Code != 0 {
		t.Errorf("--validate=warn: %+v", r)
	}
	kit.WantMatch(t, r.Err, `^Warning: unknown field "spec.replicaz"$`)
	if r := bad("replicas: 1", "replicaz: 1").Try("apply", "--validate=ignore", "-f", "-", "--dry-run=server"); r.Code != 0 || r.Err != "" {
		t.Errorf("--validate=ignore: %+v", r)
	}
	text := bad("metadata: {name: web}", "metadata: {name: Web_1}", "replicas: 1", "replicas: -1", "labels: {app: web}", "labels: {app: other}", "image: peapod/demo", "image: ''").Fail(t, "apply", "-f", "-")
	kit.WantMatch(t, text, `^The Deployment "Web_1" is invalid: ?$`,
		`^\* metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of`,
		`^\* spec.replicas: Invalid value: -1: must be greater than or equal to 0$`,
		`^\* spec.template.metadata.labels: Invalid value: \{"app":"other"\}: .selector. does not match template .labels.$`,
		`^\* spec.template.spec.containers\[0\].image: Required value$`)
	kit.WantMatch(t, bad("Deployment", "Deploymint").Fail(t, "apply", "-f", "-"), `no matches for kind "Deploymint" in version "apps/v1"`, `ensure CRDs are installed first`)
	kit.WantMatch(t, k.In("a: [b").Fail(t, "apply", "-f", "-"), `error parsing STDIN: error converting YAML to JSON: yaml: line 1: did not find expected`)
	kit.WantMatch(t, k.Fail(t, "run", "Not_A_Name", "--image=peapod/demo"), `Not_A_Name`, `RFC 1123`)
	k.Must(t, "create", "cm", "twice")
	kit.WantMatch(t, k.Fail(t, "create", "cm", "twice"), `^error: failed to create configmap: configmaps "twice" already exists$|^Error from server \(AlreadyExists\): configmaps "twice" already exists$`)
	kit.WantMatch(t, k.Fail(t, "get", "pod", "none"), `\AError from server \(NotFound\): pods "none" not found\n\z`)
	k.Namespace = "no-such-namespace"
	kit.WantMatch(t, k.Fail(t, "create", "cm", "x"), `namespaces "no-such-namespace" not found`)
}

func TestImmutableFields(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "1")
	kit.WantMatch(t, k.Fail(t, "patch", "deploy", "web", "--type=merge", "-p", `{"spec":{"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}}}}}`),
		`^The Deployment "web" is invalid: spec.selector: Invalid value: .*: field is immutable$`)
	pod := l.ReadyPods(t, k.Namespace, "app=web", 1, limit)[0]
	kit.WantMatch(t, k.Fail(t, "patch", "pod", pod.Name, "-p", `{"spec":{"nodeName":"elsewhere"}}`), `is invalid`, `pod updates may not change fields other than`)
	k.Must(t, "expose", "deploy", "web", "--port=80")
	kit.WantMatch(t, k.Fail(t, "patch", "svc", "web", "-p", `{"spec":{"clusterIP":"10.43.9.9"}}`), `spec.clusterIPs?(\[0\])?: Invalid value: .*(field is immutable|may not change once set)`)
	kit.WantMatch(t, k.Fail(t, "replace", "-f", "-", "--filename=/nothing"), `the path "/nothing" does not exist`)
}

func TestBadHCL(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	dir := t.TempDir()
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "job \"web\" {\n  group \"g\" {\n    count = = 3\n  }\n}\n", `bad.hcl:3:13: `},
		{"unknown", "job \"web\" {\n  groop \"g\" {\n  }\n}\n", `bad.hcl:2:3: `},
		{"type", "job \"web\" {\n  group \"g\" {\n    count = \"many\"\n    task \"t\" {\n      image = \"peapod/demo\"\n    }\n  }\n}\n", `bad.hcl:3:13: count must be a number$`},
	} {
		file := filepath.Join(dir, "bad.hcl")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(kit.Peapod(), "--kubeconfig", l.Kubeconfig, "apply", "-f", file)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: accepted:\n%s", c.name, out)
		}
		kit.WantMatch(t, string(out), c.want, `^ +\d+ \| .*\n +\| +\^`)
	}
}

// peapod runs the binary to its end, which must be an error that says what the expression does, in few lines.
func peapodFails(t *testing.T, want string, credential *syscall.Credential, args ...string) {
	t.Helper()
	commandFails(t, want, credential, exec.Command(kit.Peapod(), args...))
}

func commandFails(t *testing.T, want string, credential *syscall.Credential, cmd *exec.Cmd) {
	t.Helper()
	args := cmd.Args[1:]
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME=/nonexistent")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	timer := time.AfterFunc(limit, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	out, err := cmd.CombinedOutput()
	if !timer.Stop() {
		t.Errorf("peapod %s goes on:\n%s", strings.Join(args, " "), out)
		return
	}
	if err == nil {
		t.Errorf("peapod %s: no error\n%s", strings.Join(args, " "), out)
	}
	if matchErr := kit.Matches(string(out), want); matchErr != nil || strings.Contains(string(out), "goroutine ") {
		t.Errorf("peapod %s: %v", strings.Join(args, " "), matchErr)
	}
	if n := strings.Count(string(out), "\n"); n > 6 {
		t.Errorf("peapod %s says %d lines, where a sentence is wanted:\n%s", strings.Join(args, " "), n, out)
	}
	t.Logf("peapod %s: %s", strings.Join(args, " "), out)
}

func TestBadMachine(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	server := l.Node(t, "server1").Address + ":7440"
	gateway := strings.TrimSuffix(l.Node(t, "server1").Address, ".11") + ".1"
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := []string{"--api-port", "26843", "--rpc-port", "27840", "--gossip-port", "27841"}
	with := func(args ...string) []string { return append(args, other...) }
	peapodFails(t, `token`, nil, with("agent", "--client", "--name", "stranger", "--data-dir", filepath.Join(dir, "a"), "--bind", gateway, "--join", server, "--token", "rubbish")...)
	peapodFails(t, `token`, nil, with("agent", "--client", "--name", "stranger", "--data-dir", filepath.Join(dir, "b"), "--bind", gateway, "--join", server)...)
	token := strings.TrimSpace(must(os.ReadFile(filepath.Join(l.Node(t, "server1").Dir, "data", "join-token"))))
	wrong := token[:len(token)-4] + "aaaa"
	peapodFails(t, `token`, nil, with("agent", "--client", "--name", "stranger", "--data-dir", filepath.Join(dir, "c"), "--bind", gateway, "--join", server, "--token", wrong)...)
	peapodFails(t, `(?i)director`, nil, with("agent", "--server", "--data-dir", file, "--bind", "127.0.0.1")...)
	peapodFails(t, `root`, &syscall.Credential{Uid: 65534, Gid: 65534}, with("dev", "--bind", "127.0.0.1")...)
	peapodFails(t, `root`, &syscall.Credential{Uid: 65534, Gid: 65534}, with("agent", "--client", "--data-dir", dir, "--bind", "127.0.0.1", "--join", server, "--token", "x")...)
	peapodFails(t, `--bind`, nil, with("agent", "--server", "--data-dir", filepath.Join(dir, "d"), "--bind", "0.0.0.0")...)
	peapodFails(t, `--log-level`, nil, with("agent", "--server", "--data-dir", filepath.Join(dir, "e"), "--bind", "127.0.0.1", "--log-level", "loud")...)
	peapodFails(t, `--mirror`, nil, with("agent", "--client", "--data-dir", filepath.Join(dir, "f"), "--bind", "127.0.0.1", "--mirror", "x", "--join", server)...)
	for _, port := range []string{"--api-port", "--rpc-port", "--gossip-port"} {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		number := taken.Addr().String()[len("127.0.0.1:"):]
		peapodFails(t, number+`.*(in use|taken)`, nil, append(with("agent", "--server", "--name", "s", "--data-dir", filepath.Join(dir, "g"+port), "--bind", "127.0.0.1", "--log-level", "error"), port, number)...)
		taken.Close()
	}
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o755); err != nil {
		t.Fatal(err)
	}
	peapodFails(t, `data directory .* cannot be .*permission denied; `, &syscall.Credential{Uid: 65534, Gid: 65534}, with("agent", "--server", "--data-dir", "/root/none", "--bind", "127.0.0.1")...)
	first := exec.Command(kit.Peapod(), "agent", "--server", "--name", "first", "--data-dir", locked, "--bind", "127.0.0.1", "--api-port", "26853", "--rpc-port", "27850", "--gossip-port", "27851")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "the first agent founds its cluster", func() error {
		_, err := os.Stat(filepath.Join(locked, "kubeconfig"))
		return err
	})
	peapodFails(t, `data directory \S+ is in use by another peapod agent; `, nil, with("agent", "--server", "--name", "second", "--data-dir", locked, "--bind", "127.0.0.1")...)
	_ = first.Process.Signal(syscall.SIGTERM)
	if err := first.Wait(); err != nil {
		t.Errorf("a server that is told to end: %v", err)
	}
	peapodFails(t, `unknown command|nonsense`, nil, "nonsense")
	peapodFails(t, `unknown flag: --nonsense`, nil, "agent", "--nonsense")
	peapodFails(t, `no node "client9"`, nil, "lab", "kill", "--dir", l.Dir, "client9")
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A kernel that lacks something is told by the agent's first words. What this kernel has is hidden from the process by mounts of its own.
func TestBadKernel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, hide, want string }{
		{"/proc/filesystems", "overlay", `this kernel has no overlayfs: load its module \(modprobe overlay\) or build it in`},
		{"/proc/cgroups", "memory", `no cgroup controller for memory: mount cgroup2 on /sys/fs/cgroup, or boot with cgroup_enable=memory`},
	} {
		dir := t.TempDir()
		doctored := filepath.Join(dir, "doctored")
		var kept []string
		for line := range strings.Lines(string(must(os.ReadFile(c.file)))) {
			if !strings.Contains(line, c.hide) {
				kept = append(kept, line)
			}
		}
		if err := os.WriteFile(doctored, []byte(strings.Join(kept, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("mount --bind %s %s; if [ -d /lib/modules ]; then mount -t tmpfs none /lib/modules; fi; exec %s dev --data-dir %s --bind 127.0.0.1 --api-port 26853 --rpc-port 27850 --gossip-port 27851",
			doctored, c.file, kit.Peapod(), filepath.Join(dir, "data"))
		commandFails(t, c.want, nil, exec.Command("unshare", "--mount", "sh", "-ec", script))
	}
}
