package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/image"
)

// ImagesConfig says how a node keeps its images. The zero value has the defaults of Kubernetes, but for pulls, which
// do not wait for one another.
type ImagesConfig struct {
	Serialize   bool          // one pull at a time
	ParallelMax int           // pulls at a time if not Serialize; 0 is pullsAtOnce
	HighPercent int           // of the disk in use, from which on images are removed; 0 is 85, 100 is never
	LowPercent  int           // until which they are; 0 is 80
	MinAge      time.Duration // unused for less than this, an image stays; 0 is 2 minutes
	MaxAge      time.Duration // unused for longer than this, an image goes; 0 is never
	// GiveBytesPerSecond bounds what this node gives to all other nodes together; 0 does not.
	GiveBytesPerSecond int64
}

const (
	pullsAtOnce = 8
	minAge      = 2 * time.Minute
)

// WithDefaults fills what was left zero.
func (c ImagesConfig) WithDefaults() ImagesConfig {
	if c.ParallelMax <= 0 {
		c.ParallelMax = pullsAtOnce
	}
	if c.Serialize {
		c.ParallelMax = 1
	}
	if c.HighPercent == 0 {
		c.HighPercent = 85
	}
	if c.LowPercent == 0 {
		c.LowPercent = min(80, c.HighPercent)
	}
	if c.MinAge == 0 {
		c.MinAge = minAge
	}
	return c
}

// Validate reports what cannot be meant.
func (c ImagesConfig) Validate() error {
	d := c.WithDefaults()
	switch {
	case d.HighPercent < 1 || d.HighPercent > 100 || d.LowPercent < 1 || d.LowPercent > 100:
		return errors.New("the image thresholds are percentages from 1 to 100")
	case d.LowPercent > d.HighPercent:
		return fmt.Errorf("--image-gc-low-threshold %d must not be above --image-gc-high-threshold %d", d.LowPercent, d.HighPercent)
	case c.ParallelMax < 0 || c.Serialize && c.ParallelMax > 1:
		return errors.New("--max-parallel-image-pulls must be positive, and 1 together with --serialize-image-pulls")
	case d.MaxAge != 0 && d.MaxAge <= d.MinAge:
		return fmt.Errorf("--image-maximum-gc-age %v must be longer than --minimum-image-ttl-duration %v", d.MaxAge, d.MinAge)
	}
	return nil
}

// images shows the image store to the agent in the agent's words.
type images struct {
	store *image.Store
	cfg   ImagesConfig
	log   hclog.Logger
	turns chan struct{}   // capacity ParallelMax: one held by each pull
	used  func() []string // references of the images that pods name or containers use

	gc sync.Mutex // one collection at a time
}

var _ imageKeeper = (*images)(nil)

func newImages(store *image.Store, cfg ImagesConfig, log hclog.Logger, used func() []string) *images {
	cfg = cfg.WithDefaults()
	return &images{store: store, cfg: cfg, log: log, turns: make(chan struct{}, cfg.ParallelMax), used: used}
}

// Ensure follows the pull policy. A policy of Always asks the registry even if the image is here, and so does an
// image that another pod's credentials brought.
func (s *images) Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, secrets [][]byte, pulling func()) (*agent.Image, error) {
	if _, err := image.Canonical(ref); err != nil {
		return nil, &agent.ImageError{Reason: agent.ReasonInvalidImageName, Message: fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", ref, ref, err)}
	}
	auths := credentials(ref, secrets)
	have, here := s.present(ctx, ref)
	may := here && s.store.MayUse(have, ref, auths)
	switch {
	case may && policy != corev1.PullAlways, here && have.Embedded():
		s.store.Used(have)
		return view(ref, have), nil
	case policy == corev1.PullNever && here:
		return nil, neverPull("Container image %q is present with pull policy of Never, but the pod has no credentials that its registry has accepted for it", ref)
	case policy == corev1.PullNever:
		return nil, neverPull("Container image %q is not present with pull policy of Never", ref)
	}
	return s.pull(ctx, ref, auths, pulling)
}

// present finds an image whose files are as they were unpacked.
func (s *images) present(ctx context.Context, ref string) (*image.Image, bool) {
	have, here := s.store.Get(ref)
	if !here {
		return nil, false
	}
	if err := s.store.Intact(ctx, have); err != nil {
		s.log.Warn("an image that is here cannot be used", "image", ref, "error", err)
		return nil, false
	}
	return have, true
}

func neverPull(format, ref string) error {
	return &agent.ImageError{Reason: agent.ReasonErrImageNeverPull, Message: fmt.Sprintf(format, ref)}
}

// credentials are those of the secrets that fit. A secret that cannot be read is as good as none: the registry
// will say what it misses.
func credentials(ref string, secrets [][]byte) []authn.Authenticator {
	var auths []authn.Authenticator
	for _, doc := range secrets {
		if found, err := image.Credentials(ref, doc); err == nil {
			auths = append(auths, found...)
		}
	}
	return auths
}

func (s *images) pull(ctx context.Context, ref string, auths []authn.Authenticator, pulling func()) (*agent.Image, error) {
	pulling()
	asked := time.Now()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	pulled, err := s.store.Pull(ctx, ref, auths, nil)
	if err != nil {
		return nil, imageError(err)
	}
	s.store.Used(pulled)
	out := view(ref, pulled)
	out.Pulled, out.PullTime, out.WaitTime = true, time.Since(began), began.Sub(asked)
	s.log.Info("pulled an image", "image", ref, "digest", pulled.Digest, "bytes", pulled.Size, "took", out.PullTime.Truncate(time.Millisecond))
	return out, nil
}

// Lookup implements agent.Images.
func (s *images) Lookup(ref string) (*agent.Image, bool) {
	i, ok := s.store.Get(ref)
	if !ok {
		return nil, false
	}
	return view(ref, i), true
}

func imageError(err error) error {
	reason := agent.ReasonErrImagePull
	switch {
	case errors.Is(err, image.ErrReference):
		reason = agent.ReasonInvalidImageName
	case errors.Is(err, image.ErrUnreachable):
		reason = agent.ReasonRegistryUnavailable
	}
	return &agent.ImageError{Reason: reason, Message: err.Error()}
}

func view(ref string, i *image.Image) *agent.Image {
	return &agent.Image{Ref: ref, ID: i.RepoDigestOf(ref), Layers: i.Layers, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd,
		WorkingDir: i.WorkingDir, User: i.User, StopSignal: i.StopSignal, ResolveUser: i.ResolveUser, Size: i.Size}
}
