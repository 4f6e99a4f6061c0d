package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // aufs' own notes: of no use to anybody else
	opaqueXattr    = "trusted.overlay.opaque"
)

// unpacker writes one layer below root. Every path is resolved by the kernel inside root
// (openat2, RESOLVE_IN_ROOT), so no symlink that the layer itself brings leads out of it.
type unpacker struct {
	root    *os.File
	limits  Limits
	bytes   int64
	entries int
	dir     string   // whose descriptor is open in at; layers come sorted by directory
	at      *os.File // nil: none is open
	times   []dirTime
	buf     []byte
}

// dirTime waits for the end: each file made in a directory would change it.
type dirTime struct {
	name  string
	mtime time.Time
}

// unpack writes a layer's tar stream into the empty directory dir and reads the stream to its end.
func unpack(dir string, r io.Reader, limits Limits) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	u := &unpacker{root: root, limits: limits, buf: make([]byte, 128<<10)}
	defer u.close()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the tar stream: %w", err)
		}
		if err := u.entry(h, t); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	if err := u.setTimes(); err != nil {
		return err
	}
	return u.drain(r)
}

// drain reads what follows the end of the archive: it counts for the digest.
func (u *unpacker) drain(r io.Reader) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(r, u.limits.LayerBytes+1), u.buf)
	if err == nil && n > u.limits.LayerBytes {
		err = fmt.Errorf("%w: more than %d bytes after the end of the archive", ErrLimit, u.limits.LayerBytes)
	}
	return err
}

func (u *unpacker) close() {
	u.forgetDir()
	u.root.Close()
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.LayerEntries {
		return fmt.Errorf("%w: more than %d entries in one layer", ErrLimit, u.limits.LayerEntries)
	}
	if h.Size < 0 || h.Size > u.limits.LayerBytes-u.bytes {
		return fmt.Errorf("%w: the layer unpacks to more than %d bytes", ErrLimit, u.limits.LayerBytes)
	}
	u.bytes += h.Size
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return u.rootEntry(h)
	}
	dir, base := path.Split(name)
	at, err := u.parent(path.Clean(dir))
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return whiteout(at, base)
	}
	return u.create(at, name, base, h, content)
}

// cleanName makes a tar name a path relative to the root. A name that climbs out is no accident.
func cleanName(name string) (string, error) {
	if len(name) > pathBytesMax || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: the name is too long or holds a NUL", ErrHostile)
	}
	c := path.Clean(strings.TrimLeft(name, "/"))
	if c == ".." || strings.HasPrefix(c, "../") {
		return "", fmt.Errorf("%w: the name leads out of the image", ErrHostile)
	}
	if name == "" {
		return "", fmt.Errorf("%w: an empty name", ErrHostile)
	}
	return c, nil
}

func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrHostile)
	}
	at, err := u.parent(".")
	if err != nil {
		return err
	}
	u.times = append(u.times, dirTime{".", h.ModTime})
	return setMeta(at, ".", h)
}

// parent opens the directory of an entry, making it where the layer forgot to.
func (u *unpacker) parent(dir string) (int, error) {
	if u.at != nil && u.dir == dir {
		return int(u.at.Fd()), nil
	}
	fd, err := u.resolve(dir)
	if errors.Is(err, unix.ENOENT) && dir != "." {
		if err := u.makeDir(dir); err != nil {
			return 0, err
		}
		fd, err = u.resolve(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: its directory %q: %v", ErrHostile, dir, err)
	}
	u.forgetDir()
	u.dir, u.at = dir, os.NewFile(uintptr(fd), dir)
	return fd, nil
}

func (u *unpacker) makeDir(dir string) error {
	up, base := path.Split(dir)
	at, err := u.parent(path.Clean(up))
	if err != nil {
		return err
	}
	err = unix.Mkdirat(at, base, 0o755)
	if err == nil {
		err = unix.Fchmodat(at, base, 0o755, 0) // whatever the umask is
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// resolve opens a directory inside the root; absolute symlinks and .. start at the root again.
func (u *unpacker) resolve(dir string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(u.root.Fd()), dir, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func (u *unpacker) forgetDir() {
	if u.at != nil {
		u.at.Close()
		u.at = nil
	}
}

// setTimes goes backwards, because a directory comes before what is in it.
func (u *unpacker) setTimes() error {
	for n := len(u.times) - 1; n >= 0; n-- {
		d := u.times[n]
		dir, base := path.Split(d.name)
		at, err := u.resolve(path.Clean(dir))
		if err != nil {
			continue // a later entry of the same layer replaced it
		}
		err = setTime(at, base, d.mtime)
		unix.Close(at)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("setting the time of %q: %w", d.name, err)
		}
	}
	return nil
}
