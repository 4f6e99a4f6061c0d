package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/ends"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
)

var _ runtime.Executor = (*Executor)(nil)

// Config of an executor.
type Config struct {
	Socket       string // absolute path of the runtime's socket
	StateDir     string // absolute; made if it is missing
	CgroupParent string // such as peapod/NODE: distinct for nodes that share a machine
	// Attach gives the sandbox of a pod, whose network namespace is at a path, its address.
	Attach AttachFunc
	Logger hclog.Logger
}

// Executor has a container runtime run pods.
type Executor struct {
	cfg     Config
	log     hclog.Logger
	conn    *grpc.ClientConn
	runtime cri.RuntimeServiceClient
	images  *Images
	cgroups oci.PodCgroups
	version string
	told    settings

	watch *ends.Watcher
	out   *ends.Outbox
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	work  sync.WaitGroup // goroutines that learn ends, serve the network plugin, look whether anything vanished

	mu         sync.Mutex
	pods       map[string]*pod       // by UID
	containers map[string]*container // by the caller's ID
	closed     bool
}

const (
	// waitForRuntime is how often it is said that the runtime does not answer.
	waitForRuntime = 10 * time.Second
	// messageMax bounds an answer of the runtime: many containers in one list.
	messageMax = 64 << 20
)

// New waits until the runtime answers, sees that it can be worked with, and takes up this node's pods.
func New(ctx context.Context, cfg Config) (*Executor, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	cfg.CgroupParent = strings.Trim(filepath.Clean("/"+cfg.CgroupParent), "/")
	if cfg.CgroupParent == "" || !filepath.IsAbs(cfg.Socket) || !filepath.IsAbs(cfg.StateDir) {
		return nil, errors.New("the container runtime needs a cgroup parent, and a socket and a state directory with absolute paths")
	}
	if err := os.MkdirAll(filepath.Join(cfg.StateDir, "ends"), 0o700); err != nil {
		return nil, fmt.Errorf("making the container runtime's state directory: %w", err)
	}
	conn, err := grpc.NewClient("unix://"+cfg.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.WaitForReady(true)))
	if err != nil {
		return nil, fmt.Errorf("the container runtime at %s: %w", cfg.Socket, err)
	}
	e := &Executor{cfg: cfg, log: cfg.Logger, conn: conn, runtime: cri.NewRuntimeServiceClient(conn), cgroups: oci.NewPodCgroups(cfg.CgroupParent),
		out: ends.NewOutbox(), pods: map[string]*pod{}, containers: map[string]*container{}}
	e.images = &Images{client: cri.NewImageServiceClient(conn)}
	e.ctx, e.stop = context.WithCancel(context.Background())
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the container runtime at %s: %w", cfg.Socket, err), e.Close())
	}
	return e, nil
}

func (e *Executor) open(ctx context.Context) error {
	v, err := e.greet(ctx)
	if err != nil {
		return err
	}
	e.version = v.RuntimeName + "://" + v.RuntimeVersion
	if err := e.checkCgroups(ctx); err != nil {
		return err
	}
	if e.watch, err = ends.NewWatcher(e.ended); err != nil {
		return err
	}
	if err := e.openNetwork(ctx); err != nil {
		return err
	}
	if err := e.recover(ctx); err != nil {
		return fmt.Errorf("taking up its containers: %w", err)
	}
	e.work.Go(e.look)
	return nil
}

// greet waits for the runtime's first answer: it may start after the agent.
func (e *Executor) greet(ctx context.Context) (*cri.VersionResponse, error) {
	for {
		call, cancel := context.WithTimeout(ctx, waitForRuntime)
		v, err := e.runtime.Version(call, &cri.VersionRequest{Version: "v1"})
		cancel()
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if status.Code(err) == codes.Unimplemented {
			return nil, fmt.Errorf("it does not speak CRI v1: containerd does from 1.6 on, CRI-O from 1.24 on: %w", err)
		}
		e.log.Warn("the container runtime does not answer yet; still waiting", "socket", e.cfg.Socket, "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(greetPause): // an error that comes at once must not be asked for in a loop
		}
	}
}

const greetPause = 200 * time.Millisecond

// Version names the runtime as a Node object does: containerd://1.6.20.
func (e *Executor) Version() string { return e.version }

// Handlers of pods that the runtime tells of, beside its default. It may have others: older ones tell of none.
func (e *Executor) Handlers() []string { return e.told.handlers }

// CanRecurseReadOnly says whether mounts below a read-only mount can be made read-only too.
func (e *Executor) CanRecurseReadOnly() bool { return e.told.recurses }

// Images are those that the runtime keeps.
func (e *Executor) Images() *Images { return e.images }

// Exits implements runtime.Executor.
func (e *Executor) Exits() <-chan runtime.Container { return e.out.Exits() }

// Close ends the executor and its channel. Pods go on running, and the next New takes them up.
func (e *Executor) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.stop()
	var err error
	if e.watch != nil {
		err = e.watch.Close()
	}
	e.work.Wait()
	e.out.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		e.unwatch(c)
	}
	return errors.Join(err, e.conn.Close())
}

// spawn runs f beside the caller; Close waits for it. A closed executor runs nothing, and says so by false.
func (e *Executor) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.work.Go(f)
	}
	return !e.closed
}

// absent tells whether the runtime knows no such thing.
func absent(err error) bool { return status.Code(err) == codes.NotFound }
