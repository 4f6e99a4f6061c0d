package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// source is an image somewhere else: its documents, already verified, and how to get its layers.
type source struct {
	manifest []byte
	config   []byte
	names    []string
	layers   []layerSource         // as many as the manifest has
	granted  func(id string) error // notes who may use the image; nil if everybody may
}

// layerSource delivers one layer, from any offset on.
type layerSource struct {
	desc   v1.Descriptor
	diffID v1.Hash
	open   opener
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
	if src.granted != nil {
		if err := src.granted(i.ID); err != nil {
			return nil, fmt.Errorf("noting who may use the image: %w", err)
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
			say := func(phase Phase, n int64) { q := p; q.Phase, q.Bytes = phase, n; tell(q) }
			return s.flights.do(gctx, "layer "+l.diffID.Hex, nil, func(ctx context.Context, _ func(Progress)) error {
				return s.ensureLayer(ctx, l, say)
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.syncLayers(layers)
}

// syncLayers makes the layers durable that were unpacked since the last sync, by whatever pull.
func (s *Store) syncLayers(layers []layerSource) error {
	s.mu.Lock()
	fresh := maps.Clone(s.unsynced)
	s.mu.Unlock()
	if !slices.ContainsFunc(layers, func(l layerSource) bool { return fresh[l.diffID.Hex] }) {
		return nil
	}
	d, err := os.Open(s.path("layers"))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the unpacked layers: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for hex := range fresh {
		delete(s.unsynced, hex)
	}
	return nil
}

// ensureLayer brings one layer. What turns out to be damaged, on disk or on its way, is thrown away and fetched
// once more.
func (s *Store) ensureLayer(ctx context.Context, l layerSource, say func(Phase, int64)) error {
	for attempt := 1; ; attempt++ {
		if exists(s.layerPath(l.diffID)) {
			return nil
		}
		err := s.bringLayer(ctx, l, attempt > 1, say)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrCorrupt) || attempt >= corruptAttempts || ctx.Err() != nil {
			return fmt.Errorf("layer %s: %w", l.desc.Digest, err)
		}
		s.log.Warn("a layer is damaged; fetching it again", "layer", l.desc.Digest, "error", err)
		if err := os.Remove(s.blobPath(l.desc.Digest)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
}

// bringLayer unpacks a layer while it is downloaded, or from the blob if that is here.
func (s *Store) bringLayer(ctx context.Context, l layerSource, registryOnly bool, say func(Phase, int64)) error {
	if f, err := os.Open(s.blobPath(l.desc.Digest)); err == nil {
		defer f.Close()
		say(Unpacking, l.desc.Size)
		return s.unpackBlob(ctx, l, f)
	}
	open := l.open
	if s.peers != nil && !registryOnly {
		open = s.peersFirst(l)
	}
	d := s.newDownload(l.desc)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var arrived error
	var wg sync.WaitGroup
	wg.Go(func() { arrived = d.run(ctx, open, func(n int64) { say(Downloading, n) }) })
	err := s.unpackFollowing(ctx, l, d)
	wg.Wait() // what is wrong with the content is known at its end only
	if s.peers != nil {
		s.peers.Done(l.desc.Digest.String(), arrived == nil)
	}
	if arrived != nil {
		return arrived
	}
	return err
}

func (s *Store) unpackFollowing(ctx context.Context, l layerSource, d *download) error {
	if _, err := d.wait(ctx, 0); err != nil && err != io.EOF {
		return err
	}
	r, err := d.follow(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	return s.unpackBlob(ctx, l, r)
}

// unpackBlob makes layers/DIFFID of a blob's bytes. The stream must have the diff ID that the configuration promised.
func (s *Store) unpackBlob(ctx context.Context, l layerSource, blob io.Reader) error {
	tmp, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	got, err := s.unpackTo(ctx, tmp, blob)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk of %s is full: %w", s.dir, err)
	}
	if f, ok := blob.(*os.File); ok && err != nil && ctx.Err() == nil {
		if rot := verifyFile(f, l.desc.Digest); rot != nil {
			return rot
		}
	}
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	if got != l.diffID.Hex {
		return fmt.Errorf("%w: its content is sha256:%s, the configuration says %s", ErrCorrupt, got, l.diffID)
	}
	if d, ok := blob.(*follower); ok { // not before the blob is verified, too
		if _, err := d.d.wait(ctx, l.desc.Size); err != io.EOF {
			return err
		}
	}
	s.mu.Lock()
	s.unsynced[l.diffID.Hex] = true
	s.mu.Unlock()
	if err := os.Rename(tmp, s.layerPath(l.diffID)); err != nil {
		return err
	}
	return s.seal(l.diffID.Hex)
}

// unpackTo returns the digest of the uncompressed stream.
func (s *Store) unpackTo(ctx context.Context, dir string, blob io.Reader) (string, error) {
	stream, err := decompress(&ctxReader{ctx, blob})
	if err != nil {
		return "", err
	}
	defer stream.Close()
	hash := sha256.New()
	if err := unpack(dir, io.TeeReader(stream, hash), s.limits); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// verifyFile tells damage on the disk from other faults of a layer.
func verifyFile(f *os.File, want v1.Hash) error {
	got, err := hashFile(f)
	if err != nil {
		return fmt.Errorf("%w: reading it: %v", ErrCorrupt, err)
	}
	if got != want {
		return fmt.Errorf("%w: on this disk layer %s has become %s", ErrCorrupt, want, got)
	}
	return nil
}

// describe pairs the manifest's layers with the configuration's diff IDs and a way to open each.
func describe(manifest, config []byte, open func(v1.Descriptor) opener) ([]layerSource, error) {
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
