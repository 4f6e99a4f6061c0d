package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	pullRounds = 3
	pullLayers = 5
	// pullAddress is the host's, given to it for the time of the benchmark, so that the lab's node and the host reach it alike.
	pullAddress    = "10.203.78.1"
	pullRegistry   = "bench.example"
	pullRepository = "bench/pull:1"
	// pullLayerBytes is a layer's size before compression: about 40 MB after it.
	pullLayerBytes = 110 << 20
)

// benchPull pulls an image of this machine's own programs from a registry on loopback, with Peapod's image store and with
// containerd in turn, each from nothing to unpacked layers. PEAPOD_CONTAINERD is a directory with containerd and ctr,
// if they are not in PATH.
func benchPull(ctx context.Context, _ *rig.Lab, t *table) (err error) {
	host, size, stop, err := serveImage()
	if err != nil {
		return err
	}
	defer stop()
	l, err := rig.Up(ctx, *labName, "--servers", "1", "--clients", "1", "--mirror", pullRegistry+"=http://"+host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	theirs, err := startContainerd(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endContainerd(theirs)) }()
	var ourTime, theirTime, ourCPU, theirCPU []time.Duration
	for range pullRounds {
		wall, cpu, err := pullOurs(ctx, l, pullRegistry+"/"+pullRepository)
		if err != nil {
			return err
		}
		ourTime, ourCPU = append(ourTime, wall), append(ourCPU, cpu)
		if wall, cpu, err = pullTheirs(ctx, theirs, host+"/"+pullRepository); err != nil {
			return err
		}
		theirTime, theirCPU = append(theirTime, wall), append(theirCPU, cpu)
	}
	what := fmt.Sprintf("pull of %d MB in %d layers from a registry on loopback, p50 of %d", size/1e6, pullLayers, pullRounds)
	t.below(what+"; containerd's in the same run is the target", quantile(ourTime, 0.5), quantile(theirTime, 0.5), "ms")
	t.below("processor time of the same", quantile(ourCPU, 0.5), quantile(theirCPU, 0.5), "ms")
	return nil
}

// pullOurs has a node pull the image, measures its agent, and then removes the image.
func pullOurs(ctx context.Context, l *rig.Lab, ref string) (wall, cpu time.Duration, err error) {
	const node = "client1"
	syscall.Sync() // what earlier rounds left
	before, err := agentTime(l, node)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	reply, err := l.Admin(ctx, node, "node", http.MethodPost, "/images/pull?ref="+ref)
	if err != nil {
		return 0, 0, err
	}
	wall = time.Since(began)
	after, err := agentTime(l, node)
	if err != nil {
		return 0, 0, err
	}
	var pulled []struct{ ID string }
	if err := json.Unmarshal(reply, &pulled); err != nil || len(pulled) != 1 {
		return 0, 0, fmt.Errorf("a pull is answered by %q (%v)", reply, err)
	}
	_, err = l.Admin(ctx, node, "node", http.MethodDelete, "/images?ref="+pulled[0].ID)
	return wall, after - before, err
}

// agentTime is what all processes of a node's agent have used.
func agentTime(l *rig.Lab, node string) (time.Duration, error) {
	n, err := l.Node(node)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range agents(node, n.Dir) {
		t, err := processTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// serveImage makes the image and a registry that has it.
func serveImage() (host string, size int64, stop func(), err error) {
	if out, err := exec.Command("ip", "address", "add", pullAddress+"/32", "dev", "lo").CombinedOutput(); err != nil {
		return "", 0, nil, fmt.Errorf("giving the host the address %s: %w: %s", pullAddress, err, out)
	}
	release := func() { _ = exec.Command("ip", "address", "del", pullAddress+"/32", "dev", "lo").Run() }
	l, err := net.Listen("tcp", pullAddress+":0")
	if err != nil {
		release()
		return "", 0, nil, err
	}
	srv := &http.Server{Handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	stop = func() { srv.Close(); <-done; release() }
	img, size, err := programsImage()
	host = l.Addr().String()
	if err == nil {
		var tag name.Tag
		if tag, err = name.NewTag(host+"/"+pullRepository, name.Insecure); err == nil {
			err = remote.Write(tag, img)
		}
	}
	if err != nil {
		stop()
		return "", 0, nil, fmt.Errorf("making the image to pull: %w", err)
	}
	return host, size, stop, nil
}

// programsImage has layers of the files below /usr, in their order.
func programsImage() (v1.Image, int64, error) {
	var layers []v1.Layer
	var size int64
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	flush := func() error {
		if err := w.Close(); err != nil {
			return err
		}
		l, err := gzipped(buf.Bytes())
		if err != nil {
			return err
		}
		n, err := l.Size()
		layers, size = append(layers, l), size+n
		buf.Reset()
		w = tar.NewWriter(&buf)
		return err
	}
	err := filepath.WalkDir("/usr", func(p string, e fs.DirEntry, err error) error {
		if err != nil || len(layers) == pullLayers || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil || len(b) > 32<<20 {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(p, "/"), Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(1, 0)}); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		if buf.Len() >= pullLayerBytes {
			return flush()
		}
		return nil
	})
	if err == nil && len(layers) < pullLayers {
		err = fmt.Errorf("there is too little below /usr for %d layers of %d bytes", pullLayers, pullLayerBytes)
	}
	if err != nil {
		return nil, 0, err
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, 0, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, 0, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	img, err = mutate.ConfigFile(img, cfg)
	return img, size, err
}

// gzipped is a layer that is compressed once, as builders do it.
func gzipped(raw []byte) (v1.Layer, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return blobOf{static.NewLayer(buf.Bytes(), types.OCILayer), v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(raw))}}, nil
}

// blobOf is a blob that knows the digest of its content.
type blobOf struct {
	v1.Layer
	diffID v1.Hash
}

func (b blobOf) DiffID() (v1.Hash, error) { return b.diffID, nil }

// startContainerd starts a containerd that serves.
func startContainerd(ctx context.Context) (*containerd.Daemon, error) {
	d, err := containerd.New("")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.Start(""), d.Await(ctx)); err != nil {
		return nil, errors.Join(err, endContainerd(d))
	}
	return d, nil
}

func endContainerd(d *containerd.Daemon) error {
	_, err := d.Remove()
	return err
}

// pullTheirs measures ctr and the daemon, and then removes the image.
func pullTheirs(ctx context.Context, d *containerd.Daemon, ref string) (wall, cpu time.Duration, err error) {
	syscall.Sync()
	before, err := processTime(d.PID())
	if err != nil {
		return 0, 0, err
	}
	cmd := d.Command(ctx, "--namespace", "bench", "image", "pull", "--plain-http", ref) // not among the CRI's images
	began := time.Now()
	out, err := cmd.CombinedOutput()
	wall = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("ctr image pull: %w: %s", err, out)
	}
	after, err := processTime(d.PID())
	if err != nil {
		return 0, 0, err
	}
	cpu = after - before + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	out, err = d.Command(ctx, "--namespace", "bench", "image", "rm", "--sync", ref).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("ctr image rm: %w: %s", err, out)
	}
	return wall, cpu, nil
}

// processTime is what a process and its children that have ended have used.
func processTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	var ticks int64
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime; a tick is 10 ms
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
