package image

import (
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// A client of registries finds the image sound, and in it what the embedded image consists of.
func TestHandoutIsARegistry(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(exe, []byte(strings.Repeat("program ", 10_000)), 0o755); err != nil {
		t.Fatal(err)
	}
	e := Demo()
	e.Executable = exe
	h, err := e.Handout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Handout(t.Context())
	if err != nil || again.ID() != h.ID() {
		t.Fatalf("the same executable gave the images %s and %s (%v)", h.ID(), again.ID(), err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(srv.URL, "http://") + "/peapod/demo:latest")
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := img.ConfigName(); err != nil || id.String() != h.ID() {
		t.Errorf("the image's ID is %s, %v, want %s", id, err, h.ID())
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(len(layers), err)
	}
	r, err := layers[0].Compressed() // as it is served; its reader verifies the digest
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !strings.Contains(string(b), "program program") || !strings.Contains(string(b), "etc/passwd") {
		t.Errorf("the layer has %d bytes that do not hold what they should (%v)", len(b), err)
	}
	if resp, err := srv.Client().Get(srv.URL + "/v2/other/blobs/sha256:" + strings.Repeat("0", 64)); err != nil || resp.StatusCode != 404 {
		t.Errorf("a blob that is not there: %v, %v", resp, err)
	}
}
