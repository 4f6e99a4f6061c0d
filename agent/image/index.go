package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	layoutFile      = `{"imageLayoutVersion":"1.0.0"}`
	nameAnnotation  = "io.containerd.image.name" // the full name, as containerd and Docker write it
	refAnnotation   = "org.opencontainers.image.ref.name"
	docker1Manifest = "application/vnd.docker.distribution.manifest.v1" // the prefix of its two forms
)

// readIndex fills the tables. An image of which something is missing is forgotten, and said so:
// it will be pulled again.
func (s *Store) readIndex() error {
	raw, err := os.ReadFile(s.path("index.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("index.json is damaged (remove the directory to start afresh): %w", err)
	}
	images, names := map[string]*Image{}, map[string][]string{}
	for _, d := range index.Manifests {
		i, err := s.readImage(d)
		if err != nil {
			s.log.Warn("forgetting an incomplete image", "name", d.Annotations[nameAnnotation], "digest", d.Digest, "error", err)
			continue
		}
		images[i.ID] = i
		if n := d.Annotations[nameAnnotation]; n != "" {
			names[i.ID] = append(names[i.ID], n)
		}
	}
	for id, i := range images {
		images[id] = i.named(names[id])
	}
	s.adopt(images)
	return nil
}

func (s *Store) readImage(d v1.Descriptor) (*Image, error) {
	manifest, err := s.readBlob(d.Digest, manifestBytesMax)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, err
	}
	config, err := s.readBlob(m.Config.Digest, configBytesMax)
	if err != nil {
		return nil, err
	}
	i, err := newImage(s.path("layers"), manifest, config)
	if err != nil {
		return nil, err
	}
	for _, l := range i.Layers {
		if _, err := os.Stat(l); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// writeIndex makes the table of images durable. Callers hold mu.
func (s *Store) writeIndex(images map[string]*Image) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, i := range images {
		for _, n := range i.Names {
			d := i.manifest
			d.Annotations = map[string]string{nameAnnotation: n}
			if _, tag, ok := strings.Cut(n[strings.LastIndex(n, "/")+1:], ":"); ok && !strings.Contains(n, "@") {
				d.Annotations[refAnnotation] = tag
			}
			index.Manifests = append(index.Manifests, d)
		}
		if len(i.Names) == 0 {
			index.Manifests = append(index.Manifests, i.manifest)
		}
	}
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int {
		return strings.Compare(a.Annotations[nameAnnotation]+a.Digest.Hex, b.Annotations[nameAnnotation]+b.Digest.Hex)
	})
	raw, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := s.writeFile(s.path("oci-layout"), []byte(layoutFile)); err != nil {
		return err
	}
	return s.writeFile(s.path("index.json"), raw)
}
