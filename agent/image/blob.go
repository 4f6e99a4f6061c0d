package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// exists tells of a finished blob or layer: unfinished ones live in tmp.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writeFile replaces path in one step that survives a crash. The same content again costs one read.
func (s *Store) writeFile(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	f, err := os.CreateTemp(s.path("tmp"), "file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return commit(f, path)
}

// commit syncs an open temporary file and gives it its name.
func commit(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// putBlob stores a small document under its digest.
func (s *Store) putBlob(content []byte) (v1.Hash, error) {
	h := v1.Hash{Algorithm: "sha256", Hex: sum(content)}
	return h, s.writeFile(s.blobPath(h), content)
}

// readBlob reads a small document and verifies it.
func (s *Store) readBlob(h v1.Hash, bytesMax int64) ([]byte, error) {
	if len(h.Hex) != 64 {
		return nil, fmt.Errorf("%w: %q is no digest", ErrCorrupt, h)
	}
	f, err := os.Open(s.blobPath(h))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readVerified(f, h, bytesMax)
}

func readVerified(r io.Reader, h v1.Hash, bytesMax int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, bytesMax+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > bytesMax {
		return nil, fmt.Errorf("%w: document %s is larger than %d bytes", ErrLimit, h, bytesMax)
	}
	if h.Hex != sum(b) {
		return nil, fmt.Errorf("%w: document %s has digest sha256:%s", ErrCorrupt, h, sum(b))
	}
	return b, nil
}

// ctxReader ends a copy when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// reopened begins a stream that can be opened as a whole only at an offset.
func reopened(open func() (io.ReadCloser, error)) opener {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		return skipped(r, offset)
	}
}
