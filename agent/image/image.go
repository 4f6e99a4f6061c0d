package image

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is one image of the store, ready to run. It is never changed: a new name makes a new value.
type Image struct {
	ID         string   // sha256:HEX of the configuration
	Digest     string   // sha256:HEX of the manifest for this platform
	Names      []string // canonical: NAME:TAG and NAME@DIGEST, sorted
	Layers     []string // unpacked directories, lowest first
	Env        []string // K=V
	Entrypoint []string
	Cmd        []string
	WorkingDir string // "" is /
	User       string // as the image writes it; see ResolveUser
	StopSignal string // "" is SIGTERM
	Size       int64  // bytes of the layers as delivered
	Created    time.Time

	embedded bool
	manifest v1.Descriptor
	blobs    []string // HEX of everything it keeps in blobs/
	diffIDs  []string // HEX of everything it keeps in layers/
}

// RepoDigestOf prefers the name in the repository of a reference.
func (i *Image) RepoDigestOf(ref string) string {
	if r, err := parse(ref); err == nil {
		for _, n := range i.Names {
			if strings.HasPrefix(n, repository(r)+"@") {
				return n
			}
		}
	}
	return i.RepoDigest()
}

// RepoDigest is the NAME@DIGEST under which a registry knows the image; its ID if none does.
func (i *Image) RepoDigest() string {
	for _, n := range i.Names {
		if strings.Contains(n, "@") {
			return n
		}
	}
	return i.ID
}

// Embedded tells that the image came with the program and needs no registry.
func (i *Image) Embedded() bool { return i.embedded }

const embeddedAnnotation = "sh.peapod.image.embedded"

// newImage reads an image's own documents. The layers are where the store would have them.
func newImage(layersDir string, manifest, config []byte) (*Image, error) {
	m := &v1.Manifest{}
	if err := json.Unmarshal(manifest, m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	c := &v1.ConfigFile{}
	if err := json.Unmarshal(config, c); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the configuration %d", ErrCorrupt, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	if len(m.Layers) > layersMax {
		return nil, fmt.Errorf("%w: %d layers, overlayfs takes %d", ErrLimit, len(m.Layers), layersMax)
	}
	i := &Image{
		ID: "sha256:" + sum(config), Digest: "sha256:" + sum(manifest),
		Env: c.Config.Env, Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd,
		WorkingDir: c.Config.WorkingDir, User: c.Config.User, StopSignal: c.Config.StopSignal,
		Created: c.Created.Time, embedded: m.Annotations[embeddedAnnotation] != "",
		manifest: v1.Descriptor{MediaType: m.MediaType, Size: int64(len(manifest)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum(manifest)}},
		blobs:    []string{sum(manifest), sum(config)},
	}
	return i, i.addLayers(layersDir, m.Layers, c.RootFS.DiffIDs)
}

func (i *Image) addLayers(dir string, layers []v1.Descriptor, diffIDs []v1.Hash) error {
	for n, l := range layers {
		for _, h := range []v1.Hash{l.Digest, diffIDs[n]} {
			if _, full := hexDigest(h.String()); !full || len(h.Hex) != 64 {
				return fmt.Errorf("%w: layer digest %q is not sha256", ErrCorrupt, h)
			}
		}
		i.Size += l.Size
		i.Layers = append(i.Layers, filepath.Join(dir, diffIDs[n].Hex))
		i.diffIDs = append(i.diffIDs, diffIDs[n].Hex)
		i.blobs = append(i.blobs, l.Digest.Hex)
	}
	return nil
}

// named returns the image with these names and no others.
func (i *Image) named(names []string) *Image {
	c := *i
	c.Names = slices.Compact(slices.Sorted(slices.Values(names)))
	return &c
}
