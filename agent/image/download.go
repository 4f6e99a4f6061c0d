package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// download is a blob on its way into the store. One goroutine writes it to partial/HEX; any number of readers
// follow: the unpacking of the layer, and other nodes that want the same blob. What a reader has read is not
// verified before its last byte was.
type download struct {
	store *Store
	desc  v1.Descriptor
	path  string

	mu    sync.Mutex
	moved sync.Cond // n grew or it ended
	n     int64     // bytes in the file
	ended bool
	err   error // valid once ended; nil says that the blob is in the store
}

// opener begins a blob at an offset.
type opener func(ctx context.Context, offset int64) (io.ReadCloser, error)

func (s *Store) newDownload(desc v1.Descriptor) *download {
	d := &download{store: s, desc: desc, path: s.path("partial", desc.Digest.Hex)}
	d.moved.L = &d.mu
	s.mu.Lock()
	s.downloads[desc.Digest.Hex] = d
	s.mu.Unlock()
	return d
}

// run brings the blob. It goes on where an earlier download ended, also one of another process's life, and again
// after each break of the connection for as long as there is progress. Bytes that came stay on disk when it fails.
func (d *download) run(ctx context.Context, open opener, say func(int64)) error {
	err := d.bring(ctx, open, say)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		os.Remove(d.path)
		err = fmt.Errorf("the disk of %s is full: %w", d.store.dir, err)
	}
	d.store.mu.Lock()
	if d.store.downloads[d.desc.Digest.Hex] == d {
		delete(d.store.downloads, d.desc.Digest.Hex)
	}
	d.store.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.err = true, err
	d.moved.Broadcast()
	return err
}

func (d *download) bring(ctx context.Context, open opener, say func(int64)) error {
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&ctxReader{ctx, f}, d.desc.Size))
	if err != nil {
		return err
	}
	if err := f.Truncate(n); err != nil {
		return err
	}
	d.grow(n)
	if err := d.fill(ctx, f, h, open, say); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.desc.Digest.Hex {
		os.Remove(d.path)
		return fmt.Errorf("%w: layer %s arrived as sha256:%s (%d bytes)", ErrCorrupt, d.desc.Digest, got, d.desc.Size)
	}
	// No sync: the sync of the whole file system, before the image gets its name, covers it.
	return os.Rename(d.path, d.store.blobPath(d.desc.Digest))
}

// fill asks for what is missing until nothing is. Attempts are counted from the last progress on.
func (d *download) fill(ctx context.Context, f *os.File, h hash.Hash, open opener, say func(int64)) error {
	for failures := 0; d.size() < d.desc.Size; {
		before := d.size()
		err := d.append(ctx, f, h, open, say)
		if err == nil {
			continue
		}
		if d.size() > before {
			failures = 0
		}
		failures++
		if failures >= blobAttempts || final(err) || ctx.Err() != nil {
			return err
		}
		d.store.log.Warn("fetching a layer goes on after a fault", "layer", d.desc.Digest, "bytes", d.size(), "of", d.desc.Size, "error", err)
		select {
		case <-time.After(blobPause << (failures - 1)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// final tells of errors that asking again does not mend.
func final(err error) bool {
	return errors.Is(err, ErrLimit) || errors.Is(err, ErrCorrupt) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		refused(err) || missing(err)
}

// append writes what one source has. It returns nil if that was all.
func (d *download) append(ctx context.Context, f *os.File, h hash.Hash, open opener, say func(int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallTimeout, func() { cancel(fmt.Errorf("no byte came for %v", stallTimeout)) })
	defer stalled.Stop()
	at := d.size()
	r, err := open(ctx, at)
	if err != nil {
		return firstCause(ctx, err)
	}
	defer r.Close()
	buf := make([]byte, copyBuffer)
	for last := time.Now(); ; {
		n, err := r.Read(buf)
		if at+int64(n) > d.desc.Size {
			return fmt.Errorf("%w: more than the %d bytes that the manifest tells", ErrLimit, d.desc.Size)
		}
		if n > 0 {
			h.Write(buf[:n])
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
			d.grow(at)
			stalled.Reset(stallTimeout)
		}
		if now := time.Now(); err != nil || now.Sub(last) >= progressInterval {
			last = now
			say(at)
		}
		switch {
		case at == d.desc.Size:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return firstCause(ctx, err)
		}
	}
}

// copyBuffer of a download: large enough that a wake-up of the readers is rare beside what it brings.
const copyBuffer = 128 << 10

// firstCause is why the context ended, if that is what made the error.
func firstCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *download) size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *download) grow(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n = n
	d.moved.Broadcast()
}

// wait returns how many bytes there are as soon as there are more than at, or the end: io.EOF is the good one.
func (d *download) wait(ctx context.Context, at int64) (int64, error) {
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.moved.Broadcast()
	})
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.n > at:
			return d.n, nil
		case d.ended && d.err != nil:
			return at, d.err
		case d.ended:
			return at, io.EOF
		case ctx.Err() != nil:
			return at, context.Cause(ctx)
		}
		d.moved.Wait()
	}
}

// follow reads the blob from offset on while it comes.
func (d *download) follow(ctx context.Context, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(d.path)
	if errors.Is(err, os.ErrNotExist) { // it is whole already
		f, err = os.Open(d.store.blobPath(d.desc.Digest))
	}
	if err != nil {
		return nil, err
	}
	return &follower{ctx: ctx, d: d, f: f, at: offset}, nil
}

type follower struct {
	ctx  context.Context
	d    *download
	f    *os.File
	at   int64
	have int64 // bytes known to be there
}

func (r *follower) Read(p []byte) (int, error) {
	if r.at >= r.have {
		have, err := r.d.wait(r.ctx, r.at)
		if err != nil {
			return 0, err
		}
		r.have = have
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.have-r.at)], r.at)
	r.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (r *follower) Close() error { return r.f.Close() }

// Downloads tells of the layers that are on their way now, ordered by digest.
func (s *Store) Downloads() []Progress {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Progress, 0, len(s.downloads))
	for _, d := range s.downloads {
		out = append(out, Progress{Layer: d.desc.Digest.String(), Phase: Downloading, Bytes: d.size(), Total: d.desc.Size})
	}
	slices.SortFunc(out, func(a, b Progress) int { return strings.Compare(a.Layer, b.Layer) })
	return out
}

// OpenBlob reads a blob that is here, or that is on its way, from offset on: for other nodes. They verify it
// themselves. It returns ErrNotFound if the blob is neither.
func (s *Store) OpenBlob(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	hex, ok := hexDigest(digest)
	if !ok || len(hex) != 64 {
		return nil, fmt.Errorf("%w: %q is no digest", ErrReference, digest)
	}
	s.mu.RLock()
	d := s.downloads[hex]
	s.mu.RUnlock()
	if d != nil {
		return d.follow(ctx, offset)
	}
	f, err := os.Open(s.path("blobs", "sha256", hex))
	if err != nil {
		return nil, fmt.Errorf("%w: blob %s", ErrNotFound, digest)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
