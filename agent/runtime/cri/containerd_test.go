package cri

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
	// The test's own binary is the network plugin.
	_ "github.com/peapod-sh/peapod/internal/early"
)

const (
	testImage = containerd.Image
	patience  = 60 * time.Second
)

// startContainerd starts containerd, and ends it with the test.
func startContainerd(t *testing.T) *containerd.Daemon {
	t.Helper()
	d, err := containerd.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeContainerd(t, d) })
	serve(t, d)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Load(ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

// serve starts it and waits until it serves.
func serve(t *testing.T, d *containerd.Daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := errors.Join(d.Start(""), d.Await(ctx)); err != nil {
		t.Fatal(err)
	}
}

// removeContainerd ends it, and fails the test if anything is left.
func removeContainerd(t *testing.T, d *containerd.Daemon) {
	if t.Failed() {
		t.Logf("containerd says: %s", d.Log())
	}
	lost, err := d.Remove()
	if err != nil || len(lost) > 0 {
		t.Errorf("containerd has left the shims %d: %v", lost, err)
	}
}

// node is an executor over a containerd.
type node struct {
	t    testing.TB
	d    *containerd.Daemon
	cfg  Config
	next atomic.Uint32
	full atomic.Bool // no addresses are left

	network atomic.Pointer[attachment] // in place of attach, unless nil
}

type attachment struct{ attach AttachFunc }

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, d: startContainerd(t)}
	n.cfg = Config{Socket: n.d.Socket(), StateDir: filepath.Join(n.d.Dir, "agent"), CgroupParent: "cri-test/" + filepath.Base(n.d.Dir),
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
func (n *node) attach(ctx context.Context, uid, netns string) ([]netip.Addr, error) {
	if other := n.network.Load(); other != nil {
		return other.attach(ctx, uid, netns)
	}
	if _, err := os.Stat(netns); err != nil || uid == "" {
		return nil, fmt.Errorf("pod %q with the network namespace %q: %w", uid, netns, err)
	}
	if n.full.Load() {
		return nil, errors.New("no address is left")
	}
	i := n.next.Add(1)
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})}, nil
}

func (n *node) open(t *testing.T) *Executor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := New(ctx, n.cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.d.Log())
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
		Env: []string{"PATH=/bin", "HOME=/"}, LogPath: filepath.Join(n.d.Dir, id+".log")}
}
