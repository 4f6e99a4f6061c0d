package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Daemon is one containerd.
type Daemon struct {
	// Dir holds all that it keeps, and its socket.
	Dir     string
	process *exec.Cmd
}

const config = `version = 2
root = "DIR/root"
state = "DIR/state"
[grpc]
  address = "DIR/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "DIR/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "IMAGE"
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
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.HANDLER]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.HANDLER.options]
  Root = "DIR/runc-HANDLER"
`

const mirrored = `[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["MIRROR"]
`

// Handler is a second handler of pods that it has, beside the default: runc with a directory of its own.
const Handler = "other"

// New prepares one that pulls docker.io's images from a registry at the URL mirror, or from itself if that is "".
func New(mirror string) (*Daemon, error) {
	for _, p := range []string{"containerd", "ctr", "runc"} {
		if _, err := program(p); err != nil {
			return nil, fmt.Errorf("containerd and runc are missing; e2e/install-deps installs them: %w", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "containerd") // a socket's path must be short
	if err != nil {
		return nil, err
	}
	text := config
	if mirror != "" {
		text += mirrored
	}
	text = strings.NewReplacer("DIR", dir, "IMAGE", Image, "HANDLER", Handler, "MIRROR", mirror).Replace(text)
	return &Daemon{Dir: dir}, os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600)
}

// program finds a program in PATH, or in the directory that PEAPOD_CONTAINERD names: an unpacked package.
func program(name string) (string, error) {
	if d := os.Getenv("PEAPOD_CONTAINERD"); d != "" && name != "runc" {
		return filepath.Join(d, name), nil
	}
	return exec.LookPath(name)
}

// Installed says whether there is a containerd to start.
func Installed() bool {
	_, err := program("containerd")
	return err == nil
}

// Socket is where it serves.
func (d *Daemon) Socket() string { return filepath.Join(d.Dir, "sock") }

// PID is its process.
func (d *Daemon) PID() int { return d.process.Process.Pid }

// Start runs it in the named network namespace, or in the caller's if that is "". It may not serve yet when Start returns.
func (d *Daemon) Start(namespace string) error {
	path, err := program("containerd")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{path, "--config", filepath.Join(d.Dir, "config.toml"), "--log-level", "warn"}
	if namespace != "" {
		args = append([]string{"nsenter", "--net=/run/netns/" + namespace}, args...)
	}
	d.process = exec.Command(args[0], args[1:]...)
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.process.Start(); err != nil {
		d.process = nil
		return err
	}
	return nil
}

// Kill ends it as a crash would; what it runs, runs on.
func (d *Daemon) Kill() {
	if d.process != nil {
		_ = d.process.Process.Kill()
		_ = d.process.Wait() // how it ended is known
		d.process = nil
	}
}

// Command is one of containerd's own tool, in the namespace of the CRI unless the arguments begin with another.
func (d *Daemon) Command(ctx context.Context, args ...string) *exec.Cmd {
	path, err := program("ctr")
	if err != nil {
		path = "ctr" // running it says that it is missing
	}
	return exec.CommandContext(ctx, path, append([]string{"--address", d.Socket(), "--namespace", "k8s.io"}, args...)...)
}

// Ctr runs such a command and returns what it printed.
func (d *Daemon) Ctr(args ...string) (string, error) {
	out, err := d.Command(context.Background(), args...).CombinedOutput()
	return string(out), err
}

// Await waits until it serves.
func (d *Daemon) Await(ctx context.Context) error {
	for {
		out, err := d.Command(ctx, "version").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer: %w: %s\n%s", errors.Join(err, ctx.Err()), out, d.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Log is the end of what it has said.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
	return string(b[max(0, len(b)-8<<10):])
}
