package node

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/image"
)

// gcInterval is how often the node looks whether images are to be removed: Kubernetes' own period.
const gcInterval = 5 * time.Minute

// GC implements agent.Images.
func (s *images) GC(ctx context.Context, bytesToFree int64) (int64, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	done, err := s.store.GC(ctx, image.Reclaim{Bytes: bytesToFree, Used: s.used(), MinAge: s.cfg.MinAge, MaxAge: s.cfg.MaxAge})
	if len(done.Images) > 0 {
		s.log.Info("removed images that no pod uses", "images", len(done.Images), "bytes", done.Bytes)
	}
	return done.Bytes, err
}

// prune removes every image that no pod uses, for a person who asks for it.
func (s *images) prune(ctx context.Context) (image.Reclaimed, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	return s.store.GC(ctx, image.Reclaim{Bytes: math.MaxInt64, Used: s.used()})
}

// collect keeps the disk below the high threshold until ctx ends. knowing is closed once the node knows its pods: before
// that, no image is known to be unused.
func (s *images) collect(ctx context.Context, knowing <-chan struct{}) error {
	select {
	case <-knowing:
	case <-ctx.Done():
		return ctx.Err()
	}
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	for {
		if err := s.collectOnce(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("removing unused images", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *images) collectOnce(ctx context.Context) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.store.Dir(), &st); err != nil {
		return fmt.Errorf("measuring the disk of the images: %w", err)
	}
	wanted := s.cfg.excess(int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize)
	freed, err := s.GC(ctx, wanted)
	if err == nil && freed < wanted {
		err = fmt.Errorf("the disk is full to %d %% or more, and only %d of %d bytes could be freed: all other images are in use", s.cfg.HighPercent, freed, wanted)
	}
	return err
}

// excess is how many bytes are to be freed on a disk of capacity bytes of which some are available.
func (c ImagesConfig) excess(capacity, available int64) int64 {
	if capacity <= 0 || c.HighPercent >= 100 || 100-available*100/capacity < int64(c.HighPercent) {
		return 0
	}
	return max(0, capacity*int64(100-c.LowPercent)/100-available)
}

func (n *node) usedImages() []string { return usedImages(n.agent.Pods()) }

// usedImages are references of all images that must stay: whatever a pod of this node names, and what its containers
// run, which may be another image than its name stands for by now.
func usedImages(pods []*corev1.Pod) []string {
	var refs []string
	for _, p := range pods {
		for i := range p.Spec.InitContainers {
			refs = append(refs, p.Spec.InitContainers[i].Image)
		}
		for i := range p.Spec.Containers {
			refs = append(refs, p.Spec.Containers[i].Image)
		}
		for i := range p.Spec.EphemeralContainers {
			refs = append(refs, p.Spec.EphemeralContainers[i].Image)
		}
		for i := range p.Spec.Volumes {
			if v := p.Spec.Volumes[i].Image; v != nil {
				refs = append(refs, v.Reference)
			}
		}
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
			for i := range list {
				if list[i].ImageID != "" {
					refs = append(refs, list[i].ImageID)
				}
			}
		}
	}
	return refs
}
