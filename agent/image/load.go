package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Load reads an archive made by `docker save`, `podman save` or an OCI tool (tar, also compressed)
// and adds its images for this platform. Several images may be in one archive.
func (s *Store) Load(ctx context.Context, r io.Reader) ([]*Image, error) {
	a, err := s.openArchive(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("loading images: %w", err)
	}
	defer a.close()
	sources, err := s.archiveSources(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("loading images: %w", err)
	}
	var out []*Image
	for _, src := range sources {
		i, err := s.ingest(ctx, src, func(Progress) {})
		if err != nil {
			return out, fmt.Errorf("loading image %s: %w", strings.Join(src.names, ", "), err)
		}
		out = append(out, i)
	}
	return out, nil
}

// dockerEntry is one image in docker's manifest.json.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archiveSources prefers the OCI form, which keeps digests; docker's list adds the names it knows.
func (s *Store) archiveSources(ctx context.Context, a *archive) ([]*source, error) {
	var docker []dockerEntry
	if err := a.json("manifest.json", &docker); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var index v1.IndexManifest
	err := a.json("index.json", &index)
	if err == nil {
		return ociSources(a, index, docker)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if docker == nil {
		return nil, errors.New("this is neither a docker archive (manifest.json) nor an OCI one (index.json): make it with `docker save` or import a root file system with `peapod image import`")
	}
	return s.dockerSources(ctx, a, docker)
}

func ociSources(a *archive, index v1.IndexManifest, docker []dockerEntry) ([]*source, error) {
	var out []*source
	for _, d := range index.Manifests {
		m, err := pickManifest(d, nestedIndexMax, func(d v1.Descriptor) ([]byte, error) { return a.blob(d.Digest, manifestBytesMax) })
		if errors.Is(err, errOtherPlatform) {
			continue
		}
		if err != nil {
			return nil, err
		}
		src, err := ociSource(a, m)
		if err != nil {
			return nil, err
		}
		src.names = archiveNames(d, "sha256:"+sum(src.config), docker)
		out = append(out, src)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w for %s in the archive", ErrNotFound, platform)
	}
	return out, nil
}

func ociSource(a *archive, manifest []byte) (*source, error) {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, err
	}
	config, err := a.blob(m.Config.Digest, configBytesMax)
	if err != nil {
		return nil, err
	}
	layers, err := describe(manifest, config, func(d v1.Descriptor) opener {
		return reopened(func() (io.ReadCloser, error) { return a.open("blobs/sha256/" + d.Digest.Hex) })
	})
	return &source{manifest: manifest, config: config, layers: layers}, err
}

// archiveNames are an image's names from annotations and from docker's list. An annotation that is a
// bare tag names nothing: the repository is not in the archive.
func archiveNames(d v1.Descriptor, id string, docker []dockerEntry) []string {
	candidates := []string{d.Annotations[nameAnnotation]}
	if r := d.Annotations[refAnnotation]; candidates[0] == "" && strings.ContainsAny(r, "/:") {
		candidates = append(candidates, r)
	}
	for _, e := range docker {
		if strings.Contains(e.Config, strings.TrimPrefix(id, "sha256:")) {
			candidates = append(candidates, e.RepoTags...)
		}
	}
	return canonicalNames(candidates)
}

func canonicalNames(refs []string) []string {
	var out []string
	for _, r := range refs {
		if c, err := Canonical(r); err == nil && r != "" {
			out = append(out, c)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// dockerSources writes the manifests that the old docker format lacks. The layers go into the store
// first, because a manifest needs their digests.
func (s *Store) dockerSources(ctx context.Context, a *archive, docker []dockerEntry) ([]*source, error) {
	var out []*source
	for _, e := range docker {
		src, err := s.dockerSource(ctx, a, e)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", strings.Join(e.RepoTags, ", "), err)
		}
		out = append(out, src)
	}
	return out, nil
}

func (s *Store) dockerSource(ctx context.Context, a *archive, e dockerEntry) (*source, error) {
	config, err := a.read(e.Config, configBytesMax)
	if err != nil {
		return nil, err
	}
	m := newManifest(config)
	for _, l := range e.Layers {
		d, err := a.describe(ctx, l)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	n := -1
	layers, err := describe(manifest, config, func(v1.Descriptor) opener {
		n++
		name := e.Layers[n]
		return reopened(func() (io.ReadCloser, error) { return a.open(name) })
	})
	return &source{manifest: manifest, config: config, layers: layers, names: canonicalNames(e.RepoTags)}, err
}

func newManifest(config []byte) *v1.Manifest {
	return &v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(config)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum(config)}},
	}
}
