package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Reclaim says what GC may remove and when it has done enough.
type Reclaim struct {
	Bytes int64 // to be freed; unused images go until then, the longest unused first
	// Used are references (names, digests, IDs) of images that must stay: those of containers that exist, and those
	// that a desired pod names.
	Used   []string
	MinAge time.Duration // an image that was used or came less than this ago stays
	MaxAge time.Duration // an image that was not used for this long goes, however much room there is; 0 is never
}

// Reclaimed is what GC has done.
type Reclaimed struct {
	Bytes  int64
	Images []string // IDs, in the order of their removal
}

// GC removes images that nobody uses. The embedded image stays, and so does whatever a pull under way counts on.
func (s *Store) GC(ctx context.Context, r Reclaim) (Reclaimed, error) {
	var done Reclaimed
	now := s.now()
	for _, id := range s.candidates(r, now) {
		if done.Bytes >= r.Bytes && !s.expired(id, r.MaxAge, now) {
			continue
		}
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		n, err := s.reclaim(id, r.Used)
		done.Bytes += n
		if err != nil {
			return done, fmt.Errorf("collecting image %s: %w", id, err)
		}
		done.Images = append(done.Images, id)
	}
	if done.Bytes >= r.Bytes {
		return done, nil
	}
	n, err := s.reclaimStrays()
	done.Bytes += n
	return done, err
}

// candidates are the images that may go, the longest unused first. Those in use are noted as such.
func (s *Store) candidates(r Reclaim, now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.idsOf(r.Used)
	var out []string
	for id, i := range s.images {
		if used[id] {
			s.lastUse[id] = now
			continue
		}
		if !i.embedded && now.Sub(s.lastUse[id]) >= r.MinAge {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(s.lastUse[a].Compare(s.lastUse[b]), cmp.Compare(a, b)) })
	return out
}

func (s *Store) expired(id string, age time.Duration, now time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return age > 0 && now.Sub(s.lastUse[id]) >= age
}

// reclaim removes one image unless somebody has begun to use it in the meantime.
func (s *Store) reclaim(id string, used []string) (int64, error) {
	s.mu.Lock()
	i, ok := s.images[id]
	if !ok || s.idsOf(used)[id] {
		s.mu.Unlock()
		return 0, nil
	}
	images := s.withoutNames(nil)
	delete(images, id)
	trash, err := s.shrink(images, i)
	delete(s.lastUse, id)
	s.mu.Unlock()
	n, removeErr := discard(trash)
	return n, errors.Join(err, removeErr)
}

// reclaimStrays removes what no image refers to: layers of pulls that failed, downloads that nobody goes on with.
func (s *Store) reclaimStrays() (int64, error) {
	s.mu.Lock()
	trash, err := s.shrink(s.withoutNames(nil), nil)
	if err == nil {
		err = s.trashPartials(trash)
	}
	s.mu.Unlock()
	n, removeErr := discard(trash)
	return n, errors.Join(err, removeErr)
}

// trashPartials moves the downloads that are not under way. Callers hold mu.
func (s *Store) trashPartials(trash string) error {
	found, err := os.ReadDir(s.path("partial"))
	if err != nil {
		return err
	}
	for _, e := range found {
		if s.downloads[e.Name()] != nil || s.pins[e.Name()] > 0 {
			continue
		}
		if err := os.Rename(s.path("partial", e.Name()), filepath.Join(trash, "partial-"+e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// discard deletes a tree and tells how many bytes of disk that freed. Files with further names free nothing.
func discard(tree string) (int64, error) {
	if tree == "" {
		return 0, nil
	}
	var bytes int64
	err := filepath.WalkDir(tree, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Nlink == 1 || e.IsDir()) {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes, errors.Join(err, os.RemoveAll(tree))
}

// Used notes that an image is being used now, for GC's order.
func (s *Store) Used(i *Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[i.ID] != nil {
		s.lastUse[i.ID] = s.now()
	}
}

// Changes has a token whenever the images have changed since it was last read. It is for one reader.
func (s *Store) Changes() <-chan struct{} { return s.changed }
