package node

import (
	"context"
	"io"
	"net/netip"
	"path/filepath"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/cri"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
)

// executor runs the node's pods until it is closed; they live on after that.
type executor interface {
	runtime.Executor
	Close() error
}

// imageKeeper keeps the node's images: the embedded store, or a container runtime.
type imageKeeper interface {
	agent.Images
	List() []*image.Image
	// Changes has a token whenever List may say something new. It is for one reader.
	Changes() <-chan struct{}
	// Dir is on the disk where images are kept.
	Dir() string
	Pull(ctx context.Context, ref string) (*image.Image, error)
	Load(ctx context.Context, archive io.Reader) ([]*image.Image, error)
	ImportRootfs(ctx context.Context, path, ref string) ([]*image.Image, error)
	Remove(ctx context.Context, ref string) error
	// Downloads are those on their way.
	Downloads() []image.Progress
	prune(ctx context.Context) (image.Reclaimed, error)
	collect(ctx context.Context, knowing <-chan struct{}) error
	Close() error
}

// List implements imageKeeper.
func (s *images) List() []*image.Image { return s.store.List() }

// Downloads implements imageKeeper.
func (s *images) Downloads() []image.Progress { return s.store.Downloads() }

// Changes implements imageKeeper.
func (s *images) Changes() <-chan struct{} { return s.store.Changes() }

// Dir implements imageKeeper.
func (s *images) Dir() string { return s.store.Dir() }

// Pull implements imageKeeper, with nobody's credentials.
func (s *images) Pull(ctx context.Context, ref string) (*image.Image, error) {
	return s.store.Pull(ctx, ref, nil, nil)
}

// Load implements imageKeeper.
func (s *images) Load(ctx context.Context, archive io.Reader) ([]*image.Image, error) {
	return s.store.Load(ctx, archive)
}

// ImportRootfs implements imageKeeper.
func (s *images) ImportRootfs(ctx context.Context, path, ref string) ([]*image.Image, error) {
	return s.store.ImportRootfs(ctx, path, ref, image.Config{})
}

// Remove implements imageKeeper.
func (s *images) Remove(_ context.Context, ref string) error { return s.store.Remove(ref, s.used()) }

// Close implements imageKeeper.
func (s *images) Close() error { return s.store.Close() }

// openCRI has a container runtime run the pods and keep the images. Layers are neither given to other nodes nor asked of
// them then: they are the runtime's.
func (n *node) openCRI(ctx context.Context) error {
	var err error
	if n.cri, err = cri.New(ctx, cri.Config{Socket: n.cfg.CRISocket, StateDir: filepath.Join(n.cfg.DataDir, "cri"), CgroupParent: n.cfg.CgroupParent,
		Attach: n.attach, Logger: n.log.Named("cri")}); err != nil {
		return err
	}
	n.executor = n.cri
	n.pulls, err = newCRIImages(ctx, n.cri, n.cfg.Images, n.log.Named("image"), n.usedImages)
	return err
}

// attach gives the sandbox that the container runtime is making its addresses, once there is a network.
func (n *node) attach(ctx context.Context, podUID, netns string) ([]netip.Addr, error) {
	select {
	case <-n.serving: // closed after the network was made
		return n.network.Attach(ctx, podUID, netns)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// runtimeVersion is what the Node object shows; "" is the embedded runtime's.
func (n *node) runtimeVersion() string {
	if n.cri == nil {
		return ""
	}
	return n.cri.Version()
}

// handlers are what RuntimeClasses may ask for, beside the default.
func (n *node) handlers() []string {
	if n.cri == nil {
		return oci.Handlers
	}
	return n.cri.Handlers()
}

// recursesReadOnly says whether mounts below a read-only mount can be made read-only too.
func (n *node) recursesReadOnly() bool {
	if n.cri == nil {
		return oci.CanRecurseReadOnly()
	}
	return n.cri.CanRecurseReadOnly()
}
