package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Config is what ImportRootfs gives an image to run with.
type Config struct {
	Env, Entrypoint, Cmd         []string
	WorkingDir, User, StopSignal string
}

// ImportRootfs makes an image of one layer from a root file system: a directory, or a tar archive of
// one (also compressed).
func (s *Store) ImportRootfs(ctx context.Context, from, ref string, c Config) ([]*Image, error) {
	i, err := s.importRootfs(ctx, from, ref, c)
	if err != nil {
		return nil, fmt.Errorf("importing %s as image %s: %w", from, ref, err)
	}
	return []*Image{i}, nil
}

func (s *Store) importRootfs(ctx context.Context, from, ref string, c Config) (*Image, error) {
	full, err := Canonical(ref)
	if err != nil {
		return nil, err
	}
	stream, err := rootfsStream(ctx, from)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	layer, err := s.stage(ctx, stream)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	st, err := layer.Stat()
	if err != nil {
		return nil, err
	}
	digest, err := hashFile(layer)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(&v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS,
		Config: v1.Config{Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{digest}},
	})
	if err != nil {
		return nil, err
	}
	m := newManifest(config)
	m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: st.Size(), Digest: digest})
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	layers, err := describe(manifest, config, func(v1.Descriptor) opener {
		return reopened(func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(layer, 0, st.Size())), nil })
	})
	if err != nil {
		return nil, err
	}
	return s.ingest(ctx, &source{manifest: manifest, config: config, layers: layers, names: []string{full}}, func(Progress) {})
}

// stage copies a stream to a nameless temporary file, so that its digest is known before it is stored.
func (s *Store) stage(ctx context.Context, r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(s.path("tmp"), "rootfs-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // lives as long as it is open
	n, err := io.Copy(f, io.LimitReader(&ctxReader{ctx, r}, s.limits.ArchiveBytes+1))
	if err == nil && n > s.limits.ArchiveBytes {
		err = fmt.Errorf("%w: more than %d bytes", ErrLimit, s.limits.ArchiveBytes)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func hashFile(f *os.File) (v1.Hash, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return v1.Hash{}, err
	}
	h := sha256.New()
	_, err := io.Copy(h, f)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, err
}

// rootfsStream is the uncompressed tar stream of a directory or of an archive.
func rootfsStream(ctx context.Context, from string) (io.ReadCloser, error) {
	st, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(packDir(ctx, from, w)) }() // ends when the stream is closed
		return r, nil
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	d, err := decompress(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{d, f}, nil
}

// packDir writes a directory as a layer: numbers for owners, hard links as links, attributes kept.
func packDir(ctx context.Context, dir string, w io.Writer) error {
	t := tar.NewWriter(w)
	seen := map[[2]uint64]string{} // device and inode of files with several names
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil || st.Mode()&fs.ModeSocket != 0 {
			return err
		}
		return packFile(t, p, name, st, seen)
	})
	return errors.Join(err, t.Close())
}

func packFile(t *tar.Writer, p, name string, st fs.FileInfo, seen map[[2]uint64]string) error {
	link := ""
	if st.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(p); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(st, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	if st.IsDir() {
		h.Name += "/"
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Nlink > 1 && !st.IsDir() {
		key := [2]uint64{uint64(sys.Dev), sys.Ino}
		if first, again := seen[key]; again {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return t.WriteHeader(h)
		}
		seen[key] = name
	}
	h.PAXRecords = capability(p)
	if err := t.WriteHeader(h); err != nil || !st.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(t, f, h.Size)
	return err
}

// capability is the file capability as a PAX record: the attribute that programs stop working without.
func capability(p string) map[string]string {
	var v [256]byte
	n, err := unix.Lgetxattr(p, "security.capability", v[:])
	if err != nil || n == 0 {
		return nil
	}
	return map[string]string{xattrPrefix + "security.capability": string(v[:n])}
}
