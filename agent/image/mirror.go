package image

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Mirror is an address to ask instead of a registry.
type Mirror struct {
	URL      string // http://127.0.0.1:5000 or https://host/prefix; a path comes before the repository
	Insecure bool   // accept any certificate
}

// endpoint is one place to pull from.
type endpoint struct {
	host, prefix    string
	plain, insecure bool // HTTP; any certificate
}

func (e endpoint) String() string { return e.host }

// endpoints are the mirrors of the reference's registry in order, and then the registry.
func (s *Store) endpoints(r name.Reference) []endpoint {
	registry := registryOf(r)
	mirrors, ok := s.mirrors[registry]
	if !ok {
		mirrors = s.mirrors["*"]
	}
	var out []endpoint
	for _, m := range mirrors {
		e, err := m.endpoint()
		if err != nil {
			s.log.Warn("leaving out a mirror", "registry", registry, "error", err)
			continue
		}
		out = append(out, e)
	}
	return append(out, endpoint{host: registry})
}

func (m Mirror) endpoint() (endpoint, error) {
	u, err := url.Parse(m.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return endpoint{}, fmt.Errorf("mirror %q: write it as http://HOST[:PORT] or https://HOST[:PORT]", m.URL)
	}
	return endpoint{host: u.Host, prefix: strings.Trim(u.Path, "/"), plain: u.Scheme == "http", insecure: m.Insecure}, nil
}

// Validate tells whether the mirror can be used; for the command line, before anything is pulled.
func (m Mirror) Validate() error {
	_, err := m.endpoint()
	return err
}

// reference spells r for this endpoint.
func (e endpoint) reference(r name.Reference) (name.Reference, error) {
	if e.host == registryOf(r) && !e.plain && e.prefix == "" {
		return r, nil
	}
	var opts []name.Option
	if e.plain {
		opts = append(opts, name.Insecure)
	}
	repo := r.Context().RepositoryStr()
	if e.prefix != "" {
		repo = e.prefix + "/" + repo
	}
	full, err := name.NewRepository(e.host+"/"+repo, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s at %s: %v", ErrReference, canonical(r), e, err)
	}
	if d, ok := r.(name.Digest); ok {
		return full.Digest(d.DigestStr()), nil
	}
	return full.Tag(r.Identifier()), nil
}

// transport is made anew for each pull: a pull is rare, and idle connections cost memory.
func (e endpoint) transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.ResponseHeaderTimeout = headerTimeout
	if e.insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // asked for in the mirror's configuration
	}
	return t
}

// refused tells of an answer that other credentials might change.
func refused(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && (t.StatusCode == http.StatusUnauthorized || t.StatusCode == http.StatusForbidden)
}

// missing tells of an answer that what was asked for is not there.
func missing(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && t.StatusCode == http.StatusNotFound
}

// explain says in one sentence what went wrong at an endpoint and what to do about it.
func explain(err error, e endpoint, r name.Reference) error {
	var t *transport.Error
	if errors.As(err, &t) {
		return explainStatus(t, e, r)
	}
	var op net.Error
	var oe *net.OpError
	if errors.As(err, &oe) || (errors.As(err, &op) && op.Timeout()) {
		return fmt.Errorf("%w: no route to %s: check the node's network and DNS, or configure a mirror for %s: %w", ErrUnreachable, e, registryOf(r), err)
	}
	return fmt.Errorf("from %s: %w", e, err)
}

func explainStatus(t *transport.Error, e endpoint, r name.Reference) error {
	switch {
	case t.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %s has no %s: check the name and the tag", ErrNotFound, e, canonical(r))
	case t.StatusCode == http.StatusUnauthorized || t.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s answers %d: the repository does not exist or needs credentials (imagePullSecrets)", ErrUnauthorized, e, t.StatusCode)
	case t.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%s limits how often it may be asked (429): wait, give credentials, or configure a mirror for %s", e, registryOf(r))
	}
	if t.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %s answers %d: its operator has to see to that, or configure a mirror for %s: %w", ErrUnreachable, e, t.StatusCode, registryOf(r), t)
	}
	return fmt.Errorf("%s answers %d: %w", e, t.StatusCode, t)
}
