package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// BenchmarkPull brings one layer of 100 MB of this machine's programs from a registry in this process to files.
func BenchmarkPull(b *testing.B) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	full := errors.New("enough")
	err := filepath.WalkDir("/usr/lib", func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: p, Mode: 0o644, Size: int64(len(content))})); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
		if buf.Len() > 100<<20 {
			return full
		}
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		b.Fatal(err)
	}
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		b.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		b.Fatal(err)
	}
	h := benchHub(b, img)
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		dir := b.TempDir()
		s, err := Open(dir, h.options())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Pull(context.Background(), "library/a:1", nil, nil); err != nil {
			b.Fatal(err)
		}
		s.Close()
		os.RemoveAll(dir)
	}
}

func benchHub(b *testing.B, img v1.Image) *hub {
	b.Helper()
	h := newHub(b)
	h.push(b, "library/a:1", img)
	return h
}
