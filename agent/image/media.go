package image

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerTypes are what unpack understands. The compression is told by the first bytes, not by the type.
var layerTypes = map[types.MediaType]bool{
	types.OCILayer: true, types.OCILayerZStd: true, types.OCIUncompressedLayer: true,
	types.DockerLayer: true, types.DockerUncompressedLayer: true,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": true,
}

// checkMedia refuses, before anything is downloaded, what is no image that this node can run: an artifact of another
// kind, a layer that is encrypted, or one that its maker keeps elsewhere.
func checkMedia(manifest []byte) (*v1.Manifest, error) {
	m := &v1.Manifest{}
	if err := json.Unmarshal(manifest, m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	switch m.Config.MediaType {
	case types.OCIConfigJSON, types.DockerConfigJSON:
	default:
		return nil, fmt.Errorf("%w: its configuration has the media type %q: this is no container image, but another artifact", ErrUnsupported, m.Config.MediaType)
	}
	for _, l := range m.Layers {
		if !layerTypes[l.MediaType] {
			return nil, fmt.Errorf("%w: layer %s has the media type %q, which this node cannot unpack", ErrUnsupported, l.Digest, l.MediaType)
		}
	}
	return m, nil
}
