package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platform is what this node can run.
var platform = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

var errOtherPlatform = fmt.Errorf("%w: made for another platform", ErrUnsupported)

// pickManifest follows indexes down to the manifest for this platform. get fetches and verifies a document.
func pickManifest(d v1.Descriptor, depth int, get func(v1.Descriptor) ([]byte, error)) ([]byte, error) {
	if d.Platform != nil && !fits(d.Platform) {
		return nil, errOtherPlatform
	}
	if strings.HasPrefix(string(d.MediaType), docker1Manifest) {
		return nil, errors.New("its manifest has docker's schema 1, which nobody writes since 2017: push the image again with a newer tool")
	}
	raw, err := get(d)
	if err != nil {
		return nil, err
	}
	if !isIndex(d.MediaType, raw) {
		return raw, nil
	}
	if depth == 0 {
		return nil, fmt.Errorf("%w: indexes nested more than %d deep", ErrLimit, nestedIndexMax)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("reading the index %s: %w", d.Digest, err)
	}
	for _, c := range index.Manifests {
		m, err := pickManifest(c, depth-1, get)
		if !errors.Is(err, errOtherPlatform) {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w: this node needs %s, there is %s", errOtherPlatform, platform, offered(index))
}

// isIndex believes the document when the media type is missing, as in some archives.
func isIndex(t types.MediaType, raw []byte) bool {
	if t.IsIndex() || t.IsImage() {
		return t.IsIndex()
	}
	var shape struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	return json.Unmarshal(raw, &shape) == nil && shape.Manifests != nil
}

func fits(p *v1.Platform) bool {
	return p.OS == platform.OS && p.Architecture == platform.Architecture
}

func offered(index v1.IndexManifest) string {
	var out []string
	for _, m := range index.Manifests {
		if m.Platform != nil && m.Platform.OS != "unknown" {
			out = append(out, m.Platform.String())
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ", ")
}
