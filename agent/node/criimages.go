package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/agent/runtime/cri"
)

// criImages shows the images of a container runtime to the agent in the agent's words.
type criImages struct {
	runtime *cri.Executor
	cfg     ImagesConfig
	log     hclog.Logger
	dir     string
	turns   chan struct{}   // capacity ParallelMax: one held by each pull
	used    func() []string // references of the images that pods name or containers use
	changed chan struct{}   // capacity 1

	gc sync.Mutex // one collection at a time

	demo    *image.Embedded
	seeding sync.Mutex // held while the runtime gets the embedded image

	mu      sync.Mutex
	handout *image.Handout // of the embedded image; nil until somebody asks for it
	lastUse map[string]time.Time
}

var _ imageKeeper = (*criImages)(nil)

func newCRIImages(ctx context.Context, runtime *cri.Executor, cfg ImagesConfig, log hclog.Logger, used func() []string) (*criImages, error) {
	cfg = cfg.WithDefaults()
	dir, err := runtime.Images().Dir(ctx)
	if err != nil {
		return nil, err
	}
	return &criImages{runtime: runtime, cfg: cfg, log: log, dir: dir, turns: make(chan struct{}, cfg.ParallelMax), used: used,
		changed: make(chan struct{}, 1), demo: image.Demo(), lastUse: map[string]time.Time{}}, nil
}

// Ensure follows the pull policy. Who may use an image that others' credentials brought is the runtime's affair: it asks
// the registry only for a policy of Always.
func (s *criImages) Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, secrets [][]byte, pulling func()) (*agent.Image, error) {
	name, err := image.Canonical(ref)
	if err != nil {
		return nil, &agent.ImageError{Reason: agent.ReasonInvalidImageName, Message: fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", ref, ref, err)}
	}
	if s.isDemo(name) {
		return s.ensureDemo(ctx, ref)
	}
	have, err := s.runtime.Images().Get(ctx, name)
	if err != nil {
		return nil, err
	}
	switch {
	case have != nil && policy != corev1.PullAlways:
		s.touch(have.ID)
		return criView(ref, name, have), nil
	case policy == corev1.PullNever:
		return nil, neverPull("Container image %q is not present with pull policy of Never", ref)
	}
	return s.pull(ctx, ref, name, credentials(ref, secrets), pulling)
}

func (s *criImages) pull(ctx context.Context, ref, name string, auths []authn.Authenticator, pulling func()) (*agent.Image, error) {
	pulling()
	asked := time.Now()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	got, err := s.pullWith(ctx, name, auths)
	if err != nil {
		return nil, criImageError(err)
	}
	out := criView(ref, name, got)
	out.Pulled, out.PullTime, out.WaitTime = true, time.Since(began), began.Sub(asked)
	s.log.Info("pulled an image", "image", ref, "id", got.ID, "bytes", got.Size, "took", out.PullTime.Truncate(time.Millisecond))
	return out, nil
}

// pullWith tries the credentials in order and anonymity last.
func (s *criImages) pullWith(ctx context.Context, name string, auths []authn.Authenticator) (*cri.Image, error) {
	var first error
	for _, a := range append(slices.Clone(auths), authn.Anonymous) {
		c, err := a.Authorization()
		if err != nil {
			return nil, err
		}
		id, err := s.runtime.Images().Pull(ctx, name, cri.Credentials{Username: c.Username, Password: c.Password, Auth: c.Auth,
			IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken})
		if err == nil {
			return s.pulled(ctx, id)
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// pulled looks at what a pull has brought.
func (s *criImages) pulled(ctx context.Context, id string) (*cri.Image, error) {
	got, err := s.runtime.Images().Get(ctx, id)
	if err == nil && got == nil {
		err = fmt.Errorf("the container runtime has pulled image %s and lost it", id)
	}
	if err != nil {
		return nil, err
	}
	s.touch(got.ID)
	s.poke()
	return got, nil
}

func (s *criImages) touch(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastUse[id] = time.Now()
}

func (s *criImages) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func criImageError(err error) error {
	reason := agent.ReasonErrImagePull
	if status.Code(err) == codes.Unavailable {
		reason = agent.ReasonRegistryUnavailable
	}
	return &agent.ImageError{Reason: reason, Message: status.Convert(err).Message()}
}

// isDemo tells whether a canonical name is the embedded image's.
func (s *criImages) isDemo(name string) bool {
	return slices.ContainsFunc(s.demo.Names, func(n string) bool {
		c, err := image.Canonical(n)
		return err == nil && c == name
	})
}

// ensureDemo has the runtime pull the embedded image from this process, if it does not have it.
func (s *criImages) ensureDemo(ctx context.Context, ref string) (*agent.Image, error) {
	s.seeding.Lock()
	defer s.seeding.Unlock()
	h := s.embedded()
	if h == nil {
		made, err := s.demo.Handout(ctx)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.handout, h = made, made
		s.mu.Unlock()
	}
	have, err := s.runtime.Images().Get(ctx, h.ID())
	if err == nil && have == nil {
		if err = s.seed(ctx, h); err == nil {
			have, err = s.pulled(ctx, h.ID())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("giving the container runtime the embedded image: %w", err)
	}
	s.touch(have.ID)
	out := criView(ref, "", have)
	out.ID = h.RepoDigest()
	return out, nil
}

func (s *criImages) embedded() *image.Handout {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handout
}

// seed is a registry of one image, on loopback, for as long as the runtime pulls. Runtimes speak plain HTTP with
// registries on loopback.
func (s *criImages) seed(ctx context.Context, h *image.Handout) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: seedHeaderTimeout}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) }) // ends by Close
	defer serving.Wait()
	defer srv.Close()
	_, err = s.runtime.Images().Pull(ctx, l.Addr().String()+"/"+s.demo.Names[0], cri.Credentials{})
	return err
}

const seedHeaderTimeout = 10 * time.Second

// Lookup implements agent.Images. A runtime that does not answer has no images.
func (s *criImages) Lookup(ref string) (*agent.Image, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	name, err := image.Canonical(ref)
	if err != nil {
		return nil, false
	}
	if h := s.embedded(); h != nil && s.isDemo(name) {
		name = h.ID()
	}
	have, err := s.runtime.Images().Get(ctx, name)
	if err != nil || have == nil {
		return nil, false
	}
	return criView(ref, name, have), true
}

const lookupTimeout = 10 * time.Second

func criView(ref, name string, i *cri.Image) *agent.Image {
	out := &agent.Image{Ref: ref, ID: i.ID, Handle: i.ID, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkingDir: i.WorkingDir,
		User: i.User, StopSignal: i.StopSignal, Size: i.Size}
	repository, _, _ := strings.Cut(name, "@")
	if at := strings.LastIndexByte(repository, ':'); at > strings.LastIndexByte(repository, '/') {
		repository = repository[:at]
	}
	for _, d := range i.Digests {
		if out.ID == i.ID || strings.HasPrefix(d, repository+"@") {
			out.ID = d
		}
	}
	return out
}

// List implements imageKeeper.
func (s *criImages) List() []*image.Image {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	all, err := s.runtime.Images().List(ctx)
	if err != nil {
		s.log.Warn("listing images", "error", err)
		return nil
	}
	h := s.embedded()
	out := make([]*image.Image, 0, len(all))
	for _, i := range all {
		shown := imageOf(i)
		if h != nil && i.ID == h.ID() { // not the passing port that the runtime had it from
			shown.Names = append([]string{h.RepoDigest()}, s.demo.Names...)
		}
		out = append(out, shown)
	}
	slices.SortFunc(out, func(a, b *image.Image) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func imageOf(i *cri.Image) *image.Image {
	return &image.Image{ID: i.ID, Names: slices.Concat(i.Digests, i.Names), Size: i.Size}
}

// Downloads implements imageKeeper: the runtime does not tell of them.
func (s *criImages) Downloads() []image.Progress { return nil }

// Changes implements imageKeeper. What others do to the runtime's images shows with our next pull.
func (s *criImages) Changes() <-chan struct{} { return s.changed }

// Dir implements imageKeeper.
func (s *criImages) Dir() string { return s.dir }

// Pull implements imageKeeper.
func (s *criImages) Pull(ctx context.Context, ref string) (*image.Image, error) {
	name, err := image.Canonical(ref)
	if err != nil {
		return nil, err
	}
	i, err := s.pullWith(ctx, name, nil)
	if err != nil {
		return nil, errors.New(status.Convert(err).Message())
	}
	return imageOf(i), nil
}

var errRuntimesTool = errors.New("the images of this node are kept by its container runtime, which takes archives by a tool of its own: ctr -n k8s.io images import FILE, or podman load for CRI-O")

// Load implements imageKeeper.
func (s *criImages) Load(context.Context, io.Reader) ([]*image.Image, error) {
	return nil, errRuntimesTool
}

// ImportRootfs implements imageKeeper.
func (s *criImages) ImportRootfs(context.Context, string, string) ([]*image.Image, error) {
	return nil, errRuntimesTool
}

// Remove implements imageKeeper.
func (s *criImages) Remove(ctx context.Context, ref string) error {
	name := ref
	if !strings.HasPrefix(ref, "sha256:") {
		var err error
		if name, err = image.Canonical(ref); err != nil {
			return err
		}
	}
	i, err := s.runtime.Images().Get(ctx, name)
	if err != nil {
		return err
	}
	if i == nil {
		return fmt.Errorf("this node has no image %s", ref)
	}
	used, err := s.inUse(ctx)
	if err != nil {
		return err
	}
	if i.Pinned || used.has(i) {
		return fmt.Errorf("image %s is in use", ref)
	}
	defer s.poke()
	return s.runtime.Images().Remove(ctx, i.ID)
}

// Close implements imageKeeper.
func (s *criImages) Close() error { return nil }
