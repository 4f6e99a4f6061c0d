package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Handout is the embedded image as a registry serves it, for a container runtime that keeps images of its own. It is an
// http.Handler that knows no other image, under any name.
type Handout struct {
	manifest, config []byte
	layer            v1.Descriptor
	image            *Embedded
}

// Handout reads the executable once, for the digest of the layer.
func (e *Embedded) Handout(ctx context.Context) (*Handout, error) {
	hash := sha256.New()
	n := &counter{w: hash}
	if err := e.tar(ctx, n); err != nil {
		return nil, fmt.Errorf("reading the embedded image: %w", err)
	}
	h := &Handout{image: e, layer: v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: n.bytes,
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}}}
	var err error
	h.config, h.manifest, err = e.documents(h.layer.Digest, h.layer.Size)
	return h, err
}

// ID is the image's, by which a runtime that has it knows it.
func (h *Handout) ID() string { return "sha256:" + sum(h.config) }

// RepoDigest names the image for good, as if it had come from the registry of its first name.
func (h *Handout) RepoDigest() string {
	r, err := parse(h.image.Names[0])
	if err != nil {
		return h.ID()
	}
	return repository(r) + "@sha256:" + sum(h.manifest)
}

type counter struct {
	w     io.Writer
	bytes int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.bytes += int64(len(b))
	return c.w.Write(b)
}

// tar writes the layer, the same at every call.
func (e *Embedded) tar(ctx context.Context, w io.Writer) error {
	exe, err := os.Open(e.Executable)
	if err != nil {
		return err
	}
	defer exe.Close()
	st, err := exe.Stat()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, dir := range slices.Sorted(maps.Keys(e.Dirs)) { // parents sort before what is in them
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: int64(e.Dirs[dir])}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Files)) {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: 0o644, Size: int64(len(e.Files[name]))}); err != nil {
			return err
		}
		if _, err := io.WriteString(t, e.Files[name]); err != nil {
			return err
		}
	}
	for _, l := range e.Links {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path.Join("bin", l), Linkname: e.Program, Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.Program[1:], Mode: 0o755, Size: st.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(t, &ctxReader{ctx, exe}); err != nil {
		return err
	}
	return t.Close()
}

// ServeHTTP is the reading half of the OCI distribution protocol, for this one image.
func (h *Handout) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch kind, what := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path); {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "this registry is only read", http.StatusMethodNotAllowed)
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case kind == "manifests" && (!strings.Contains(what, ":") || what == "sha256:"+sum(h.manifest)):
		h.send(w, r, string(types.OCIManifestSchema1), "sha256:"+sum(h.manifest), int64(len(h.manifest)), h.manifest)
	case kind == "blobs" && what == h.ID():
		h.send(w, r, string(types.OCIConfigJSON), what, int64(len(h.config)), h.config)
	case kind == "blobs" && what == h.layer.Digest.String():
		h.send(w, r, "application/octet-stream", what, h.layer.Size, nil)
	default:
		http.NotFound(w, r)
	}
}

// send answers with body, or with the layer if it is nil.
func (h *Handout) send(w http.ResponseWriter, r *http.Request, kind, digest string, size int64, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Docker-Content-Digest", digest)
	if r.Method == http.MethodHead {
		return
	}
	if body != nil {
		_, _ = w.Write(body) // a runtime that has gone asks again
		return
	}
	_ = h.image.tar(r.Context(), w) // the runtime finds a layer that was cut short by its digest
}
