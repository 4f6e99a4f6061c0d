package image

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// repo speaks to one repository of one endpoint with one credential (OCI distribution specification 1.1).
type repo struct {
	http *http.Client
	base string // https://HOST/v2/REPOSITORY; the transport knows whether it is to be http
	ref  name.Reference
}

// manifestTypes are the documents that a manifest's name may stand for.
var manifestTypes = strings.Join([]string{string(types.OCIImageIndex), string(types.OCIManifestSchema1),
	string(types.DockerManifestList), string(types.DockerManifestSchema2)}, ", ")

// dialRegistry asks for a token, if the registry wants one. Its error is a refusal if the credential is wrong.
func dialRegistry(ctx context.Context, ref name.Reference, auth authn.Authenticator, base http.RoundTripper) (*repo, error) {
	at := ref.Context()
	t, err := transport.NewWithContext(ctx, at.Registry, auth, transport.NewUserAgent(base, "peapod"), []string{at.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &repo{http: &http.Client{Transport: t}, base: "https://" + at.RegistryStr() + "/v2/" + at.RepositoryStr(), ref: ref}, nil
}

// do sends a request and takes a status other than those wanted for an error. The caller closes the body.
func (r *repo) do(ctx context.Context, method, path string, header http.Header, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, want...); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// digest asks what the reference stands for now, without fetching it: registries that count pulls do not
// count that one. It is empty if the registry does not say.
func (r *repo) digest(ctx context.Context) (string, error) {
	resp, err := r.do(ctx, http.MethodHead, "/manifests/"+r.ref.Identifier(), http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest"), nil
}

// manifest fetches a manifest or index by tag or digest. What a digest names is verified.
func (r *repo) manifest(ctx context.Context, identifier string) (v1.Descriptor, []byte, error) {
	var none v1.Descriptor
	resp, err := r.do(ctx, http.MethodGet, "/manifests/"+identifier, http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return none, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, manifestBytesMax+1))
	if err != nil {
		return none, nil, err
	}
	if len(raw) > manifestBytesMax {
		return none, nil, fmt.Errorf("%w: manifest %s is larger than %d bytes", ErrLimit, identifier, manifestBytesMax)
	}
	got := "sha256:" + sum(raw)
	if strings.Contains(identifier, ":") && identifier != got {
		return none, nil, fmt.Errorf("%w: manifest %s arrived as %s", ErrCorrupt, identifier, got)
	}
	if said := resp.Header.Get("Docker-Content-Digest"); strings.HasPrefix(said, "sha256:") && said != got {
		return none, nil, fmt.Errorf("%w: the registry says that manifest %s is %s, it sent %s", ErrCorrupt, identifier, said, got)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return v1.Descriptor{MediaType: types.MediaType(kind), Size: int64(len(raw)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum(raw)}}, raw, nil
}

// blob opens a blob of size bytes at an offset. A registry that knows no ranges sends all of it; what was had is skipped.
func (r *repo) blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset > 0 {
		span := fmt.Sprintf("bytes=%d-%d", offset, d.Size-1)
		resp, err := r.do(ctx, http.MethodGet, "/blobs/"+d.Digest.String(), http.Header{"Range": {span}},
			http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
			return resp.Body, nil
		}
		if resp.StatusCode == http.StatusOK {
			return skipped(resp.Body, offset)
		}
		resp.Body.Close()
	}
	resp, err := r.do(ctx, http.MethodGet, "/blobs/"+d.Digest.String(), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return skipped(resp.Body, offset)
}

// skipped reads over what is not wanted.
func skipped(r io.ReadCloser, n int64) (io.ReadCloser, error) {
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}
