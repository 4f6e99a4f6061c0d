package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Remove takes a name from an image; without its last name, or removed by ID or digest, the image
// goes with the layers that no other image has. Used are references (names, digests, IDs) of images that must
// stay: those of containers that exist, and those that a desired pod names.
func (s *Store) Remove(ref string, used []string) error {
	s.mu.Lock()
	i, ok := s.get(ref)
	if !ok {
		s.mu.Unlock()
		return fmt.Errorf("removing image %s: %w on this node", ref, ErrNotFound)
	}
	names := i.Names
	if c, err := Canonical(ref); err == nil && s.names[c] == i.ID {
		names = slices.DeleteFunc(slices.Clone(i.Names), func(n string) bool { return n != c })
	}
	images := s.withoutNames(names)
	if len(images[i.ID].Names) == 0 {
		if i.embedded || s.idsOf(used)[i.ID] {
			s.mu.Unlock()
			return fmt.Errorf("removing image %s: %w: remove the pods that use it first", ref, ErrInUse)
		}
		delete(images, i.ID)
	}
	trash, err := s.shrink(images, i)
	s.mu.Unlock()
	return errors.Join(err, os.RemoveAll(trash))
}

// idsOf resolves references to image IDs. Callers hold mu.
func (s *Store) idsOf(refs []string) map[string]bool {
	ids := map[string]bool{}
	for _, r := range refs {
		if i, ok := s.get(r); ok {
			ids[i.ID] = true
		}
	}
	return ids
}

// shrink makes the smaller table durable, then moves what nothing refers to any more into a trash
// directory, which the caller deletes without the lock. With one image only its content is looked at.
func (s *Store) shrink(images map[string]*Image, one *Image) (trash string, err error) {
	if err := s.writeIndex(images); err != nil {
		return "", fmt.Errorf("removing images: %w", err)
	}
	s.adopt(images)
	if err := s.forgetRights(images); err != nil {
		return "", fmt.Errorf("removing images: %w", err)
	}
	trash, err = os.MkdirTemp(s.path("tmp"), "trash-")
	if err != nil {
		return "", err
	}
	kept := s.referenced()
	for kind, dir := range map[string]string{"blob-": s.path("blobs", "sha256"), "layer-": s.path("layers"), "sum-": s.path("sums")} {
		found, err := os.ReadDir(dir)
		if err != nil {
			return trash, err
		}
		for _, e := range found {
			if kept[e.Name()] || (one != nil && !slices.Contains(one.blobs, e.Name()) && !slices.Contains(one.diffIDs, e.Name())) {
				continue
			}
			if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(trash, kind+e.Name())); err != nil {
				return trash, err
			}
		}
	}
	return trash, nil
}
