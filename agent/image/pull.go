package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Pull brings an image from its registry, or from the first of the registry's mirrors that has it.
// The credentials are tried in order and anonymity last; see Credentials. Pulls of one reference at
// the same time are one pull, if they bring the same credentials. progress may be nil.
//
// It asks the registry even when the image is here (that is pull policy Always); only what changed is
// fetched. The embedded image needs no registry.
func (s *Store) Pull(ctx context.Context, ref string, auths []authn.Authenticator, progress func(Progress)) (*Image, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, err
	}
	full := canonical(r)
	if s.isEmbedded(full) {
		return s.EnsureEmbedded(ctx)
	}
	err = s.flights.do(ctx, "pull "+full+" "+fingerprint(auths), progress, func(ctx context.Context, tell func(Progress)) error {
		err := s.pull(ctx, r, auths, func(p Progress) { p.Ref = full; tell(p) })
		if err == nil {
			tell(Progress{Ref: full, Phase: Done})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pulling image %s: %w", full, err)
	}
	i, ok := s.Get(full)
	if !ok {
		return nil, fmt.Errorf("pulling image %s: it was removed at the same moment: %w", full, ErrNotFound)
	}
	return i, nil
}

// fingerprint keeps pulls with different credentials apart, without keeping the credentials.
func fingerprint(auths []authn.Authenticator) string {
	h := sha256.New()
	for _, a := range auths {
		c, err := a.Authorization()
		if err != nil {
			continue
		}
		b, _ := json.Marshal(c) // a struct of strings always encodes
		h.Write(b)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// pull goes through the mirrors and then the registry itself. The error is of the last that was
// reached, or lists them all.
func (s *Store) pull(ctx context.Context, r name.Reference, auths []authn.Authenticator, tell func(Progress)) error {
	tell(Progress{Phase: Resolving})
	var errs []error
	for _, e := range s.endpoints(r) {
		err := s.pullFrom(ctx, e, r, auths, tell)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if len(s.mirrors) > 0 {
			s.log.Debug("an endpoint failed", "image", canonical(r), "endpoint", e, "error", err)
		}
		errs = append(errs, err)
		if errors.Is(err, ErrHostile) || errors.Is(err, ErrLimit) {
			break
		}
	}
	return worst(errs)
}

// worst chooses what to say: that a registry was reached and said no tells more than that another was not.
func worst(errs []error) error {
	for _, e := range errs {
		if !errors.Is(e, ErrUnreachable) && !errors.Is(e, ErrNotFound) {
			return e
		}
	}
	for _, e := range errs {
		if errors.Is(e, ErrNotFound) {
			return e
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return joined(errs)
}

// joined is several failures in one line.
type joined []error

func (j joined) Error() string {
	parts := make([]string, len(j))
	for n, e := range j {
		parts[n] = e.Error()
	}
	return strings.Join(parts, "; ")
}

func (j joined) Unwrap() []error { return j }

func (s *Store) pullFrom(ctx context.Context, e endpoint, r name.Reference, auths []authn.Authenticator, tell func(Progress)) error {
	ref, err := e.reference(r)
	if err != nil {
		return err
	}
	transport := e.transport()
	defer transport.CloseIdleConnections()
	var desc *remote.Descriptor
	var puller *remote.Puller
	for _, a := range append(auths[:len(auths):len(auths)], authn.Anonymous) {
		puller, err = remote.NewPuller(remote.WithAuth(a), remote.WithTransport(transport), remote.WithJobs(layersAtOnce), remote.WithUserAgent("peapod"))
		if err != nil {
			return err
		}
		if desc, err = puller.Get(ctx, ref); err == nil || !refused(err) {
			break
		}
	}
	if err != nil {
		return explain(err, e, r)
	}
	src, err := remoteSource(ctx, puller, ref, desc)
	if err != nil {
		return explain(err, e, r)
	}
	src.names = []string{canonical(r), repository(r) + "@" + desc.Digest.String()}
	if _, err := s.ingest(ctx, src, tell); err != nil {
		return explain(err, e, r)
	}
	return nil
}

// remoteSource chooses the platform and fetches the documents; layers follow when asked for.
func remoteSource(ctx context.Context, p *remote.Puller, ref name.Reference, desc *remote.Descriptor) (*source, error) {
	manifest, err := pickManifest(desc.Descriptor, nestedIndexMax, func(d v1.Descriptor) ([]byte, error) {
		if d.Digest == desc.Digest {
			return desc.Manifest, nil
		}
		got, err := p.Get(ctx, ref.Context().Digest(d.Digest.String()))
		if err != nil {
			return nil, err
		}
		return got.Manifest, nil
	})
	if err != nil {
		return nil, err
	}
	open := func(d v1.Descriptor) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) {
			l, err := p.Layer(ctx, ref.Context().Digest(d.Digest.String()))
			if err != nil {
				return nil, err
			}
			return l.Compressed()
		}
	}
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	r, err := open(m.Config)(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	config, err := readVerified(r, m.Config.Digest, configBytesMax)
	if err != nil {
		return nil, err
	}
	layers, err := describe(manifest, config, open)
	return &source{manifest: manifest, config: config, layers: layers}, err
}
