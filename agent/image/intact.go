package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// A layer's files are not read again before they are used: that would take as long as unpacking them. What a damaged disk, a crash or a
// person has done to them shows in what the file system says of them, above all in the times of their last change, which nothing but
// a change sets. sums/HEX has the digest of that, taken when the layer was unpacked.

// Intact looks, once in the store's life, whether the layers of an image that was here before are still as they were unpacked. A damaged
// one is unpacked again from its blob. If that is damaged too, the image is forgotten and has to be pulled again, and the error says so.
func (s *Store) Intact(ctx context.Context, i *Image) error {
	if i.embedded || s.allTrusted(i) {
		return nil
	}
	return s.flights.do(ctx, "intact "+i.ID, nil, func(ctx context.Context, _ func(Progress)) error {
		var damaged []string
		for _, hex := range i.diffIDs {
			if err := s.inspect(hex); err != nil {
				s.log.Warn("an unpacked layer is damaged", "image", i.ID, "layer", hex, "error", err)
				damaged = append(damaged, hex)
			}
		}
		if len(damaged) == 0 {
			return nil
		}
		if err := s.repair(ctx, i, damaged); err != nil {
			return errors.Join(fmt.Errorf("image %s is damaged on this disk: %w", i.ID, err), s.forget(i))
		}
		s.log.Info("unpacked damaged layers again", "image", i.ID, "layers", len(damaged))
		return nil
	})
}

func (s *Store) allTrusted(i *Image) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !slices.ContainsFunc(i.diffIDs, func(hex string) bool { return !s.trusted[hex] })
}

func (s *Store) trust(hex string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trusted[hex] = true
}

// inspect compares a layer with its sum. One without a sum was unpacked by an older version, and is taken as it is.
func (s *Store) inspect(hex string) error {
	s.mu.RLock()
	known := s.trusted[hex]
	s.mu.RUnlock()
	if known {
		return nil
	}
	want, err := os.ReadFile(s.path("sums", hex))
	if len(want) != sha256.Size*2 && (err == nil || errors.Is(err, os.ErrNotExist)) {
		return s.seal(hex)
	}
	if err != nil {
		return err
	}
	got, err := treeSum(s.path("layers", hex))
	if err != nil {
		return err
	}
	if got != string(want) {
		return fmt.Errorf("%w: its files have been changed since it was unpacked", ErrCorrupt)
	}
	s.trust(hex)
	return nil
}

// seal notes what an unpacked layer is like.
func (s *Store) seal(hex string) error {
	sum, err := treeSum(s.path("layers", hex))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("sums", hex), []byte(sum), 0o600); err != nil {
		return err
	}
	s.trust(hex)
	return nil
}

// treeSum digests what the file system says of everything below a directory. Of the directory itself the time counts not: it was renamed.
func treeSum(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err := errors.Join(err, unix.Lstat(p, &st)); err != nil {
			return err
		}
		if p == dir {
			st.Ctim = unix.Timespec{}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			st.Size = 0 // a file system's own affair
		}
		_, err = fmt.Fprintf(h, "%q %o %d:%d %d %d %d.%d\n", strings.TrimPrefix(p, dir), st.Mode, st.Uid, st.Gid, st.Rdev, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// repair unpacks layers of an image anew from what is on this disk.
func (s *Store) repair(ctx context.Context, i *Image, damaged []string) error {
	manifest, err := s.readBlob(i.manifest.Digest, manifestBytesMax)
	if err != nil {
		return err
	}
	config, err := s.readBlob(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(i.ID, "sha256:")}, configBytesMax)
	if err != nil {
		return err
	}
	layers, err := describe(manifest, config, func(v1.Descriptor) opener {
		return func(context.Context, int64) (io.ReadCloser, error) {
			return nil, fmt.Errorf("%w: neither its files nor its blob are whole", ErrCorrupt)
		}
	})
	if err != nil {
		return err
	}
	layers = slices.DeleteFunc(layers, func(l layerSource) bool { return !slices.Contains(damaged, l.diffID.Hex) })
	for _, hex := range damaged {
		if err := s.setLayerAside(hex); err != nil {
			return err
		}
	}
	for _, l := range layers {
		if err := s.unpackAgain(ctx, l); err != nil {
			return err
		}
	}
	return s.syncLayers(layers)
}

// unpackAgain unpacks a layer's blob, if that is whole; else it removes it.
func (s *Store) unpackAgain(ctx context.Context, l layerSource) error {
	f, err := os.Open(s.blobPath(l.desc.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	err = s.unpackBlob(ctx, l, f)
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, os.Remove(s.blobPath(l.desc.Digest)))
	}
	return err
}

// setLayerAside keeps a damaged layer's files until the machine starts again: containers may run on them.
func (s *Store) setLayerAside(hex string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	place, err := os.MkdirTemp(s.path("damaged"), boot+".")
	if err != nil {
		return err
	}
	err = os.Rename(s.path("layers", hex), filepath.Join(place, hex))
	if errors.Is(err, os.ErrNotExist) { // that is its damage
		return os.Remove(place)
	}
	return err
}

// dropDamaged removes layers that were set aside before the machine was started.
func (s *Store) dropDamaged() error {
	found, err := os.ReadDir(s.path("damaged"))
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	for _, e := range found {
		if strings.HasPrefix(e.Name(), boot+".") {
			continue
		}
		if err := os.RemoveAll(s.path("damaged", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// forget takes an image out of the tables, as if it had never been pulled. What it shares with others stays.
func (s *Store) forget(i *Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	images := maps.Clone(s.images)
	delete(images, i.ID)
	if err := s.writeIndex(images); err != nil {
		return err
	}
	s.adopt(images)
	return nil
}
