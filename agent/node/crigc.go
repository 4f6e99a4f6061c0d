package node

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/agent/runtime/cri"
)

// references are names, digests and IDs of images.
type references map[string]bool

func (r references) has(i *cri.Image) bool {
	return r[i.ID] || slices.ContainsFunc(slices.Concat(i.Names, i.Digests), func(n string) bool { return r[n] })
}

// inUse are the references of all images that must stay: those that pods of this node name, and those of whatever else
// the runtime runs.
func (s *criImages) inUse(ctx context.Context) (references, error) {
	others, err := s.runtime.ImagesInUse(ctx)
	if err != nil {
		return nil, err
	}
	out := references{}
	h := s.embedded()
	for _, ref := range append(others, s.used()...) {
		out[ref] = true
		name, err := image.Canonical(ref)
		if err != nil {
			continue // an ID
		}
		out[name] = true
		if h != nil && (s.isDemo(name) || name == h.RepoDigest()) {
			out[h.ID()] = true
		}
	}
	return out, nil
}

// GC implements agent.Images. The runtime does not tell when an image was used last: this process notes it, from its
// start on.
func (s *criImages) GC(ctx context.Context, bytesToFree int64) (freed int64, err error) {
	done, err := s.reclaim(ctx, bytesToFree, s.cfg.MinAge)
	return done.Bytes, err
}

// prune implements imageKeeper.
func (s *criImages) prune(ctx context.Context) (image.Reclaimed, error) {
	return s.reclaim(ctx, math.MaxInt64, 0)
}

func (s *criImages) reclaim(ctx context.Context, bytesToFree int64, minAge time.Duration) (done image.Reclaimed, err error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	all, err := s.runtime.Images().List(ctx)
	if err != nil {
		return done, err
	}
	used, err := s.inUse(ctx)
	if err != nil {
		return done, err
	}
	now := time.Now()
	for _, i := range s.candidates(all, used, minAge, now) {
		if done.Bytes >= bytesToFree && (s.cfg.MaxAge == 0 || now.Sub(s.usedAt(i.ID)) < s.cfg.MaxAge) {
			continue
		}
		if err := s.runtime.Images().Remove(ctx, i.ID); err != nil {
			return done, err
		}
		done.Bytes += i.Size
		done.Images = append(done.Images, i.ID)
	}
	if len(done.Images) > 0 {
		s.log.Info("removed images that no pod uses", "images", len(done.Images), "bytes", done.Bytes)
		s.poke()
	}
	return done, nil
}

// candidates are the images that may go, the longest unused first. Those in use are noted as such, and so are those that
// are seen for the first time.
func (s *criImages) candidates(all []*cri.Image, used references, minAge time.Duration, now time.Time) []*cri.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	var out []*cri.Image
	for _, i := range all {
		there[i.ID] = true
		if _, seen := s.lastUse[i.ID]; !seen || used.has(i) {
			s.lastUse[i.ID] = now
		}
		if !i.Pinned && !used.has(i) && now.Sub(s.lastUse[i.ID]) >= minAge {
			out = append(out, i)
		}
	}
	for id := range s.lastUse {
		if !there[id] {
			delete(s.lastUse, id)
		}
	}
	slices.SortFunc(out, func(a, b *cri.Image) int {
		return cmp.Or(s.lastUse[a.ID].Compare(s.lastUse[b.ID]), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (s *criImages) usedAt(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastUse[id]
}

// followInterval is how often the runtime's list is read, which others change too.
const followInterval = 10 * time.Second

// collect keeps the disk below the high threshold until ctx ends, see images.collect, and follows what the runtime has.
func (s *criImages) collect(ctx context.Context, knowing <-chan struct{}) error {
	select {
	case <-knowing:
	case <-ctx.Done():
		return ctx.Err()
	}
	collect, follow := time.NewTicker(gcInterval), time.NewTicker(followInterval)
	defer collect.Stop()
	defer follow.Stop()
	seen := s.List()
	for {
		select {
		case <-collect.C:
			if err := s.collectOnce(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("removing unused images", "error", err)
			}
		case <-follow.C:
			now := s.List()
			if !slices.EqualFunc(seen, now, func(a, b *image.Image) bool { return a.ID == b.ID && slices.Equal(a.Names, b.Names) }) {
				seen = now
				s.poke()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *criImages) collectOnce(ctx context.Context) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("measuring the disk of the images: %w", err)
	}
	_, err := s.GC(ctx, s.cfg.excess(int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize))
	return err
}
