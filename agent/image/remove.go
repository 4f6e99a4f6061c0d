package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Remove takes a name from an image; without its last name, or removed by ID or digest, the image
// goes with the layers that no other image has. inUse tells by ID which images must stay: those of
// containers that exist, and those that a desired pod names.
func (s *Store) Remove(ref string, inUse func(id string) bool) error {
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
		if i.embedded || inUse(i.ID) {
			s.mu.Unlock()
			return fmt.Errorf("removing image %s: %w: remove the pods that use it first", ref, ErrInUse)
		}
		delete(images, i.ID)
	}
	trash, err := s.shrink(images, i)
	s.mu.Unlock()
	return errors.Join(err, os.RemoveAll(trash))
}

// GC removes images that have lost their last name to a newer one and are not in use, and content
// that nothing refers to, such as the layers of a pull that failed. It returns the IDs removed.
func (s *Store) GC(inUse func(id string) bool) ([]string, error) {
	s.mu.Lock()
	images := s.withoutNames(nil)
	var gone []string
	for id, i := range images {
		if len(i.Names) == 0 && !inUse(id) {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		delete(images, id)
	}
	trash, err := s.shrink(images, nil)
	s.mu.Unlock()
	return gone, errors.Join(err, os.RemoveAll(trash))
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
	for kind, dir := range map[string]string{"blob-": s.path("blobs", "sha256"), "layer-": s.path("layers")} {
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
