package podtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/peapod-sh/peapod/e2e/kit"
	"github.com/peapod-sh/peapod/e2e/registry"
)

// containerd runs in a lab's node, with directories of its own, and takes nothing from the machine.
type containerd struct {
	dir     string
	process *exec.Cmd
}

const containerdConfig = `version = 2
root = "DIR/root"
state = "DIR/state"
[grpc]
  address = "DIR/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "DIR/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "peapod.test/pause:1"
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  # Machines that are containers themselves may not lower the score.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "DIR/cni/bin"
  conf_dir = "DIR/cni/conf"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["REGISTRY"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "DIR/runc"
`

// newContainerd prepares one that pulls docker.io's images from a registry of the test's.
func newContainerd(t *testing.T, mirror string) *containerd {
	t.Helper()
	for _, p := range []string{"containerd", "ctr", "runc", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("this test needs containerd, runc and nsenter: e2e/install-deps installs them: %v", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "podtest")
	if err != nil {
		t.Fatal(err)
	}
	d := &containerd{dir: dir}
	t.Cleanup(func() { d.remove(t) })
	config := strings.NewReplacer("DIR", dir, "REGISTRY", mirror).Replace(containerdConfig)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *containerd) socket() string { return filepath.Join(d.dir, "sock") }

// start runs it in a network namespace.
func (d *containerd) start(t *testing.T, namespace string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.process = exec.Command("nsenter", "--net=/run/netns/"+namespace, "containerd", "--config", filepath.Join(d.dir, "config.toml"), "--log-level", "warn")
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// stop ends it with KILL, as a crash would; what it runs, runs on.
func (d *containerd) stop() {
	if d.process != nil {
		_ = d.process.Process.Kill()
		_ = d.process.Wait() // how it ended is known
		d.process = nil
	}
}

// ctr runs a command of containerd's own tool.
func (d *containerd) ctr(args ...string) (string, error) {
	out, err := exec.Command("ctr", append([]string{"--address", d.socket(), "--namespace", "k8s.io"}, args...)...).CombinedOutput()
	return string(out), err
}

// loadPause gives it the image of which it makes sandboxes.
func (d *containerd) loadPause(t *testing.T) {
	t.Helper()
	img, err := registry.Busybox("sleep", "2147483647")
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("peapod.test/pause:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.dir, "pause.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "containerd takes an image", func() error {
		_, err := d.ctr("images", "import", file)
		return err
	})
}

func (d *containerd) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b[max(0, len(b)-8<<10):])
}

// removeShims ends what containerd has lost. It starts a shim for each sandbox, and forgets one if the call that makes the
// sandbox breaks off with the agent, or if it dies itself meanwhile. A shim that still runs something is our fault.
func (d *containerd) removeShims(t *testing.T) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(b, []byte(d.socket())) || !bytes.Contains(b, []byte("containerd-shim")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Error(err)
			continue
		}
		children, _ := filepath.Glob(filepath.Join(filepath.Dir(f), "task", "*", "children"))
		for _, c := range children {
			if list, err := os.ReadFile(c); err == nil && len(list) > 0 {
				t.Errorf("a shim runs something: %s: %s", list, bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
			}
		}
		t.Logf("containerd has lost the shim %d", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone by itself
	}
}

// remove ends it, and fails the test if anything of it is left.
func (d *containerd) remove(t *testing.T) {
	d.stop()
	if t.Failed() {
		t.Logf("containerd says: %s", d.log())
	}
	d.removeShims(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.dir) {
			t.Errorf("a mount is left: %s", line)
			_ = syscall.Unmount(strings.Fields(line)[4], syscall.MNT_DETACH) // the directory goes next
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}
