package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// source is an image somewhere else: its documents, already verified, and how to get its layers.
type source struct {
	manifest []byte
	config   []byte
	names    []string
	layers   []layerSource // as many as the manifest has
}

// layerSource delivers one layer. open starts from the first byte each time.
type layerSource struct {
	desc   v1.Descriptor
	diffID v1.Hash
	open   func(context.Context) (io.ReadCloser, error)
}

// ingest brings in what is missing of an image and then names it. Everything is on disk before
// index.json knows it.
func (s *Store) ingest(ctx context.Context, src *source, tell func(Progress)) (*Image, error) {
	i, err := newImage(s.path("layers"), src.manifest, src.config)
	if err != nil {
		return nil, err
	}
	defer s.pin(append(i.blobs, i.diffIDs...))()
	if err := s.ensureLayers(ctx, src.layers, tell); err != nil {
		return nil, err
	}
	for _, doc := range [][]byte{src.config, src.manifest} {
		if _, err := s.putBlob(doc); err != nil {
			return nil, fmt.Errorf("storing the image's documents: %w", err)
		}
	}
	return s.record(i, src.names)
}

// pin keeps blobs and layers from being collected until the returned function is called.
func (s *Store) pin(hexes []string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hexes {
		s.pins[h]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, h := range hexes {
			if s.pins[h]--; s.pins[h] == 0 {
				delete(s.pins, h)
			}
		}
	}
}

// ensureLayers fetches and unpacks the layers that are missing. One sync of the file system covers
// them all: it costs less than a sync of every file in them.
func (s *Store) ensureLayers(ctx context.Context, layers []layerSource, tell func(Progress)) error {
	var unpacked atomic.Bool
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for _, l := range layers {
		g.Go(func() error {
			p := Progress{Layer: l.desc.Digest.String(), Total: l.desc.Size, Layers: len(layers)}
			if exists(s.layerPath(l.diffID)) {
				p.Phase, p.Bytes = Exists, l.desc.Size
				tell(p)
				return nil
			}
			unpacked.Store(true)
			say := func(phase Phase, n int64) { q := p; q.Phase, q.Bytes = phase, n; tell(q) }
			return s.flights.do(gctx, "layer "+l.diffID.Hex, nil, func(ctx context.Context, _ func(Progress)) error {
				return s.ensureLayer(ctx, l, say)
			})
		})
	}
	if err := g.Wait(); err != nil || !unpacked.Load() {
		return err
	}
	return s.syncLayers()
}

func (s *Store) syncLayers() error {
	d, err := os.Open(s.path("layers"))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the unpacked layers: %w", err)
	}
	return nil
}

func (s *Store) ensureLayer(ctx context.Context, l layerSource, say func(Phase, int64)) error {
	if exists(s.layerPath(l.diffID)) {
		return nil
	}
	if !exists(s.blobPath(l.desc.Digest)) {
		if err := s.fetch(ctx, l, say); err != nil {
			return fmt.Errorf("fetching layer %s: %w", l.desc.Digest, err)
		}
	}
	say(Unpacking, l.desc.Size)
	if err := s.unpackBlob(ctx, l); err != nil {
		return fmt.Errorf("unpacking layer %s: %w", l.desc.Digest, err)
	}
	return nil
}

// fetch downloads a layer, again from its start if the connection breaks. Layers that arrived stay,
// so a pull that failed goes on where it was when it is tried again.
func (s *Store) fetch(ctx context.Context, l layerSource, say func(Phase, int64)) (err error) {
	for attempt := range blobAttempts {
		if attempt > 0 {
			s.log.Warn("fetching a layer again", "layer", l.desc.Digest, "attempt", attempt+1, "error", err)
		}
		if err = s.fetchOnce(ctx, l, say); err == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, ErrLimit) || errors.Is(err, ErrCorrupt) || errors.Is(err, unix.ENOSPC) || refused(err) {
			return err
		}
	}
	return err
}

func (s *Store) fetchOnce(ctx context.Context, l layerSource, say func(Phase, int64)) error {
	r, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	_, _, err = s.saveBlob(ctx, &sayingReader{r: r, say: func(n int64) { say(Downloading, n) }}, l.desc.Digest, l.desc.Size)
	return err
}

// sayingReader reports progress, not more often than a person can see.
type sayingReader struct {
	r    io.Reader
	say  func(int64)
	n    int64
	last time.Time
}

func (p *sayingReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	if now := time.Now(); err != nil || now.Sub(p.last) >= progressInterval {
		p.last = now
		p.say(p.n)
	}
	return n, err
}

// unpackBlob makes layers/DIFFID of a blob. The stream must have the diff ID that the configuration promised.
func (s *Store) unpackBlob(ctx context.Context, l layerSource) error {
	f, err := os.Open(s.blobPath(l.desc.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	stream, err := decompress(&ctxReader{ctx, f})
	if err != nil {
		return err
	}
	defer stream.Close()
	tmp, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	hash := sha256.New()
	if err := unpack(tmp, io.TeeReader(stream, hash), s.limits); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != l.diffID.Hex {
		return fmt.Errorf("%w: its content is sha256:%s, the configuration says %s", ErrCorrupt, got, l.diffID)
	}
	if err := os.Rename(tmp, s.layerPath(l.diffID)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.layerPath(l.diffID)))
}

// describe pairs the manifest's layers with the configuration's diff IDs and a way to open each.
func describe(manifest, config []byte, open func(v1.Descriptor) func(context.Context) (io.ReadCloser, error)) ([]layerSource, error) {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the configuration %d", ErrCorrupt, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	out := make([]layerSource, len(m.Layers))
	for n, d := range m.Layers {
		out[n] = layerSource{desc: d, diffID: c.RootFS.DiffIDs[n], open: open(d)}
	}
	return out, nil
}
