package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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

// pullFrom tries the credentials in order. One that is refused is followed by the next.
func (s *Store) pullFrom(ctx context.Context, e endpoint, r name.Reference, auths []authn.Authenticator, tell func(Progress)) error {
	ref, err := e.reference(r)
	if err != nil {
		return err
	}
	base := e.transport()
	defer base.CloseIdleConnections()
	guarded := patience{inner: base}
	if !e.plain && !loopback(e.host) {
		guarded.host = e.host
	}
	for _, a := range append(auths[:len(auths):len(auths)], authn.Anonymous) {
		var reg *repo
		if reg, err = dialRegistry(ctx, ref, a, guarded); err == nil {
			err = s.pullAs(ctx, reg, r, a, tell)
		}
		if errors.Is(err, ErrCorrupt) && ctx.Err() == nil { // a document may have been damaged on its way, as a layer may
			err = s.pullAs(ctx, reg, r, a, tell)
		}
		if err == nil || !refused(err) {
			break
		}
	}
	if err != nil {
		return explain(err, e, r)
	}
	return nil
}

// pullAs pulls with one credential. If the registry says that the reference stands for what is here already, all that
// is left to do is to note that it said so.
func (s *Store) pullAs(ctx context.Context, reg *repo, r name.Reference, a authn.Authenticator, tell func(Progress)) error {
	names := []string{canonical(r)}
	if _, ok := s.Get(canonical(r)); ok {
		digest, err := reg.digest(ctx)
		if refused(err) || ctx.Err() != nil {
			return err
		}
		// A registry that cannot say it this way is asked for the whole manifest below.
		if have, ok := s.Get(repository(r) + "@" + digest); ok && slices.Contains(have.Names, repository(r)+"@"+digest) {
			if err := s.grant(have.ID, repository(r), a); err != nil {
				return err
			}
			_, err := s.record(have, append(names, repository(r)+"@"+digest))
			return err
		}
	}
	desc, raw, err := reg.manifest(ctx, reg.ref.Identifier())
	if err != nil {
		return err
	}
	src, err := reg.source(ctx, desc, raw)
	if err != nil {
		return err
	}
	src.names = append(names, repository(r)+"@"+desc.Digest.String())
	src.granted = func(id string) error { return s.grant(id, repository(r), a) }
	_, err = s.ingest(ctx, src, tell)
	return err
}

// source chooses the platform and fetches the documents; layers follow when asked for.
func (r *repo) source(ctx context.Context, desc v1.Descriptor, raw []byte) (*source, error) {
	manifest, err := pickManifest(desc, nestedIndexMax, func(d v1.Descriptor) ([]byte, error) {
		if d.Digest == desc.Digest {
			return raw, nil
		}
		_, got, err := r.manifest(ctx, d.Digest.String())
		return got, err
	})
	if err != nil {
		return nil, err
	}
	m, err := checkMedia(manifest)
	if err != nil {
		return nil, err
	}
	body, err := r.blob(ctx, m.Config, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	config, err := readVerified(body, m.Config.Digest, configBytesMax)
	if err != nil {
		return nil, err
	}
	layers, err := describe(manifest, config, func(d v1.Descriptor) opener {
		return func(ctx context.Context, offset int64) (io.ReadCloser, error) { return r.blob(ctx, d, offset) }
	})
	return &source{manifest: manifest, config: config, layers: layers}, err
}
