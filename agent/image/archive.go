package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// archive is a tar file on disk with a table of its members, so that they can be read in any order.
type archive struct {
	f       *os.File
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // another member: docker links layers that images share
}

// openArchive copies the stream, decompressed, to a temporary file and lists it.
func (s *Store) openArchive(ctx context.Context, r io.Reader) (*archive, error) {
	stream, err := decompress(&ctxReader{ctx, r})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	f, err := os.CreateTemp(s.path("tmp"), "archive-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // lives as long as it is open
	a := &archive{f: f, members: map[string]member{}}
	n, err := io.Copy(f, io.LimitReader(stream, s.limits.ArchiveBytes+1))
	if err == nil && n > s.limits.ArchiveBytes {
		err = fmt.Errorf("%w: the archive has more than %d bytes", ErrLimit, s.limits.ArchiveBytes)
	}
	if err == nil {
		err = a.list(s.limits.LayerEntries)
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *archive) close() { a.f.Close() }

// list notes where each member's bytes are: tar.Reader does not read ahead, so after Next the file
// stands at the first of them.
func (a *archive) list(entriesMax int) error {
	if _, err := a.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t := tar.NewReader(a.f)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("this is no tar archive, or it is cut short: %w", err)
		}
		if len(a.members) >= entriesMax {
			return fmt.Errorf("%w: the archive has more than %d members", ErrLimit, entriesMax)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeRegA:
			at, err := a.f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.members[name] = member{offset: at, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean(h.Linkname)}
		}
	}
}

func (a *archive) member(name string) (member, error) {
	name = path.Clean(name)
	for range symlinksMax {
		m, ok := a.members[name]
		if !ok {
			return member{}, fmt.Errorf("%s in the archive: %w", name, os.ErrNotExist)
		}
		if m.link == "" {
			return m, nil
		}
		name = m.link
	}
	return member{}, fmt.Errorf("%w: %s in the archive is a loop of links", ErrHostile, name)
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	m, err := a.member(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.f, m.offset, m.size)), nil
}

func (a *archive) read(name string, bytesMax int64) ([]byte, error) {
	m, err := a.member(name)
	if err != nil {
		return nil, err
	}
	if m.size > bytesMax {
		return nil, fmt.Errorf("%w: %s in the archive has %d bytes, at most %d are read", ErrLimit, name, m.size, bytesMax)
	}
	b := make([]byte, m.size)
	_, err = a.f.ReadAt(b, m.offset)
	if err == io.EOF && m.size == 0 {
		err = nil
	}
	return b, err
}

func (a *archive) json(name string, into any) error {
	b, err := a.read(name, manifestBytesMax)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("reading %s of the archive: %w", name, err)
	}
	return nil
}

func (a *archive) blob(h v1.Hash, bytesMax int64) ([]byte, error) {
	b, err := a.read("blobs/sha256/"+h.Hex, bytesMax)
	if err == nil && (h.Algorithm != "sha256" || sum(b) != h.Hex) {
		err = fmt.Errorf("%w: blob %s of the archive has digest sha256:%s", ErrCorrupt, h, sum(b))
	}
	return b, err
}

// describe hashes a member as a layer.
func (a *archive) describe(ctx context.Context, name string) (v1.Descriptor, error) {
	r, err := a.open(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(hash, &ctxReader{ctx, r})
	kind := types.OCIUncompressedLayer
	if strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".tgz") {
		kind = types.OCILayer
	}
	return v1.Descriptor{MediaType: kind, Size: n, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}}, err
}
