package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
	// The test's own binary is the network plugin.
	_ "github.com/peapod-sh/peapod/internal/early"
)

const (
	testImage = "peapod.test/busybox:1"
	patience  = 60 * time.Second
)

// containerd is one of its own, for one test binary or one test.
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
  sandbox_image = "peapod.test/busybox:1"
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  # Machines that are containers themselves may not lower the score.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "DIR/cni/bin"
  conf_dir = "DIR/cni/conf"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "DIR/runc"
`

// startContainerd starts containerd with directories of its own, and ends it with the test.
func startContainerd(t *testing.T) *containerd {
	t.Helper()
	for _, p := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("this test needs containerd and runc: e2e/install-deps installs them: %v", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "cri")
	if err != nil {
		t.Fatal(err)
	}
	d := &containerd{dir: dir}
	t.Cleanup(func() { d.remove(t) })
	conf := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(containerdConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	d.load(t)
	return d
}

func (d *containerd) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.process = exec.Command("containerd", "--config", filepath.Join(d.dir, "config.toml"), "--log-level", "warn")
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	d.ctr(t, "version")
}

func (d *containerd) kill() {
	_ = d.process.Process.Kill()
	_, _ = d.process.Process.Wait()
}

// ctr runs a command of containerd's own tool, again until containerd serves.
func (d *containerd) ctr(t *testing.T, args ...string) string {
	t.Helper()
	all := append([]string{"--address", filepath.Join(d.dir, "sock"), "--namespace", "k8s.io"}, args...)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("ctr", all...).CombinedOutput()
		if err == nil {
			return string(out)
		}
		if time.Now().After(end) {
			t.Fatalf("ctr %v: %v\n%s\n%s", args, err, out, d.log())
		}
	}
}

func (d *containerd) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b[max(0, len(b)-8<<10):])
}

// load gives it a small image, which is also that of sandboxes: its default command sleeps.
func (d *containerd) load(t *testing.T) {
	t.Helper()
	root, err := runtimetest.BusyboxLayer(filepath.Join(d.dir, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := imageOf(root)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(testImage)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.dir, "image.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	d.ctr(t, "images", "import", file)
}

func imageOf(root string) (v1.Image, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(linksToo{os.DirFS(root).(fs.ReadLinkFS)}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture = "linux", "amd64"
	f.Config = v1.Config{Env: []string{"PATH=/bin"}, Entrypoint: []string{"sleep"}, Cmd: []string{"2147483647"}, WorkingDir: "/", User: "0", StopSignal: "SIGQUIT"}
	return mutate.ConfigFile(img, f)
}

// linksToo has tar write symbolic links as such.
type linksToo struct{ fs.ReadLinkFS }

// remove ends what runs, then containerd, and fails the test if anything is left.
func (d *containerd) remove(t *testing.T) {
	d.kill()
	for _, line := range d.shims() {
		t.Errorf("a shim is left: %s", line)
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, d.dir) {
				t.Errorf("a mount is left: %s", line)
				_ = syscall.Unmount(strings.Fields(line)[4], syscall.MNT_DETACH)
			}
		}
	}
	if t.Failed() {
		t.Logf("containerd says: %s", d.log())
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}

// shims are the processes that were started for this containerd's sandboxes.
func (d *containerd) shims() []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.HasPrefix(b, []byte("/usr/bin/containerd-shim")) && bytes.Contains(b, []byte(filepath.Join(d.dir, "sock"))) {
			out = append(out, f+" "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return out
}

// node is an executor over a containerd.
type node struct {
	t    testing.TB
	d    *containerd
	cfg  Config
	next atomic.Uint32
	full atomic.Bool // no addresses are left
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, d: startContainerd(t)}
	n.cfg = Config{Socket: filepath.Join(n.d.dir, "sock"), StateDir: filepath.Join(n.d.dir, "agent"), CgroupParent: "cri-test/" + filepath.Base(n.d.dir),
		Attach: n.attach, Logger: hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Info})}
	t.Cleanup(n.cleanUp)
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// attach gives addresses but no links: packets are the pod network's affair.
func (n *node) attach(_ context.Context, uid, netns string) (netip.Addr, error) {
	if _, err := os.Stat(netns); err != nil || uid == "" {
		return netip.Addr{}, fmt.Errorf("pod %q with the network namespace %q: %w", uid, netns, err)
	}
	if n.full.Load() {
		return netip.Addr{}, errors.New("no address is left")
	}
	i := n.next.Add(1)
	return netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)}), nil
}

func (n *node) open(t *testing.T) *Executor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := New(ctx, n.cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.d.log())
	}
	t.Cleanup(func() { e.Close() })
	n.awaitImage(t, e)
	return e
}

// attachFails has no addresses left until the function is called that it returns.
func (n *node) attachFails() (until func()) {
	n.full.Store(true)
	return func() { n.full.Store(false) }
}

// awaitImage: containerd tells its part that pods are made by of what was imported, some time later.
func (n *node) awaitImage(t *testing.T, e *Executor) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if i, err := e.Images().Get(context.Background(), testImage); err == nil && i != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the runtime does not see the image that was imported")
		}
	}
}

// cleanUp leaves the machine as it was.
func (n *node) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := New(ctx, n.cfg)
	if err != nil {
		n.t.Error(err)
		return
	}
	defer e.Close()
	list, err := e.List(ctx)
	if err != nil {
		n.t.Error(err)
	}
	for _, s := range list {
		if err := e.RemoveSandbox(ctx, s.PodUID); err != nil {
			n.t.Error(err)
		}
	}
	if err := oci.RemoveCgroups(n.cfg.CgroupParent); err != nil {
		n.t.Error(err)
	}
	if err := e.Uninstall(); err != nil {
		n.t.Error(err)
	}
}

func (n *node) spec(pod, id, script string) runtime.ContainerSpec {
	return runtime.ContainerSpec{ID: id, PodUID: pod, Name: id, Image: testImage, Args: []string{"sh", "-c", script},
		Env: []string{"PATH=/bin", "HOME=/"}, LogPath: filepath.Join(n.d.dir, id+".log")}
}
