package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

const dockerHub = "docker.io"

// Canonical spells a reference in full, as Docker does: nginx:1.12 becomes
// docker.io/library/nginx:1.12, and a reference with a digest loses its tag.
func Canonical(ref string) (string, error) {
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	return canonical(r), nil
}

func parse(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("%w %q: write it as [REGISTRY/]NAME[:TAG][@DIGEST], in lower case: %v", ErrReference, ref, err)
	}
	return r, nil
}

func canonical(r name.Reference) string {
	if d, ok := r.(name.Digest); ok {
		return repository(r) + "@" + d.DigestStr()
	}
	return repository(r) + ":" + r.Identifier()
}

// repository is the canonical name without tag or digest.
func repository(r name.Reference) string {
	return registryOf(r) + "/" + r.Context().RepositoryStr()
}

// registryOf undoes the library's preference for Docker Hub's old address.
func registryOf(r name.Reference) string {
	host := r.Context().RegistryStr()
	if host == name.DefaultRegistry {
		return dockerHub
	}
	return host
}

// hexDigest tells whether s is a sha256 digest or image ID, with or without its prefix, and returns
// the hexadecimal part. Short forms need twelve digits, as Docker prints them.
func hexDigest(s string) (string, bool) {
	hex, prefixed := strings.CutPrefix(s, "sha256:")
	if len(hex) > 64 || (len(hex) < 12 && !prefixed) || hex == "" {
		return "", false
	}
	for _, c := range hex {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return "", false
		}
	}
	return hex, true
}
