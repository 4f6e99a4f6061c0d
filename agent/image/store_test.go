package image

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func open(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func randomImage(t *testing.T, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(1024, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func dockerArchive(t *testing.T, tag string, img v1.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	ref := must[name.Tag](t)(name.NewTag(tag))
	if err := tarball.Write(ref, img, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEmbeddedNeedsNoRegistry(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Embedded: Demo()})
	i := must[*Image](t)(s.EnsureEmbedded(context.Background()))
	for _, ref := range []string{"peapod/demo", "peapod/demo:latest", "docker.io/peapod/demo:latest", i.ID} {
		got, ok := s.Get(ref)
		if !ok || got.ID != i.ID {
			t.Errorf("Get(%q) = %v, %v", ref, got, ok)
		}
	}
	pulled := must[*Image](t)(s.Pull(context.Background(), "peapod/demo", nil, nil))
	if pulled.ID != i.ID || len(pulled.Layers) != 1 {
		t.Fatalf("pulled %+v", pulled)
	}
	exe := must[os.FileInfo](t)(os.Stat("/proc/self/exe"))
	placed := must[os.FileInfo](t)(os.Stat(filepath.Join(i.Layers[0], "bin/peapod")))
	if exe.Size() != placed.Size() || placed.Mode().Perm()&0o111 != 0o111 {
		t.Errorf("the program in the image is %v", placed.Mode())
	}
	s.Close()
	again := open(t, dir, Options{Embedded: Demo()})
	if got, ok := again.Get("peapod/demo"); !ok || got.ID != i.ID || !got.Embedded() {
		t.Errorf("after a restart: %+v %v", got, ok)
	}
}

func TestLoadDockerArchive(t *testing.T) {
	img := randomImage(t, 3)
	dir := t.TempDir()
	s := open(t, dir, Options{})
	got := must[[]*Image](t)(s.Load(context.Background(), bytes.NewReader(dockerArchive(t, "nginx:1.12", img))))
	want := must[v1.Hash](t)(img.ConfigName())
	if len(got) != 1 || got[0].ID != want.String() || len(got[0].Layers) != 3 {
		t.Fatalf("loaded %+v, want %s", got, want)
	}
	s.Close()
	again := open(t, dir, Options{})
	i, ok := again.Get("nginx:1.12")
	if !ok || i.Names[0] != "docker.io/library/nginx:1.12" {
		t.Fatalf("after a restart: %+v", i)
	}
	for _, l := range i.Layers {
		if entries := must[[]os.DirEntry](t)(os.ReadDir(l)); len(entries) == 0 {
			t.Errorf("layer %s is empty", l)
		}
	}
}
