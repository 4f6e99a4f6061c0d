package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
)

// Image is what Load gives it, and that of sandboxes: busybox, whose default command sleeps.
const Image = "peapod.test/busybox:1"

// Load waits until it serves and gives it Image.
func (d *Daemon) Load(ctx context.Context) error {
	root, err := runtimetest.BusyboxLayer(filepath.Join(d.Dir, "layer"))
	if err != nil {
		return err
	}
	img, err := imageOf(root)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(Image)
	if err != nil {
		return err
	}
	file := filepath.Join(d.Dir, "image.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		return err
	}
	if err := d.Await(ctx); err != nil {
		return err
	}
	if out, err := d.Command(ctx, "images", "import", file).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %w: %s", err, out)
	}
	return nil
}

func imageOf(root string) (v1.Image, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(linksToo{os.DirFS(root).(fs.ReadLinkFS)}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture = "linux", "amd64"
	f.Config = v1.Config{Env: []string{"PATH=/bin"}, Entrypoint: []string{"sleep"}, Cmd: []string{"2147483647"}, WorkingDir: "/", User: "0", StopSignal: "SIGQUIT"}
	return mutate.ConfigFile(img, f)
}

// linksToo has tar write symbolic links as such.
type linksToo struct{ fs.ReadLinkFS }
