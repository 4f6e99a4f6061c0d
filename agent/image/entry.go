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

const xattrPrefix = "SCHILY.xattr." // how PAX headers spell extended attributes

// whiteout hides what lower layers have: overlayfs' own notation for the tar convention.
func whiteout(at int, base string) error {
	if base == whiteoutOpaque {
		return setXattr(at, ".", opaqueXattr, []byte("y"))
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("%w: a whiteout of nothing", ErrHostile)
	}
	err := unix.Mknodat(at, hidden, unix.S_IFCHR, int(unix.Mkdev(0, 0)))
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// The same layer has the name already: it hides the lower one by itself, a directory if opaque.
	var st unix.Stat_t
	if err := unix.Fstatat(at, hidden, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return setXattr(at, hidden, opaqueXattr, []byte("y"))
	}
	return nil
}

// create makes one entry in the directory at, replacing what the same layer put there before.
func (u *unpacker) create(at int, name, base string, h *tar.Header, content io.Reader) error {
	hidden, err := u.clear(at, name, base, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	if err := u.make(at, base, h, content); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return nil // everything is the first name's
	case tar.TypeDir:
		u.times = append(u.times, dirTime{name, h.ModTime})
		if hidden {
			if err := setXattr(at, base, opaqueXattr, []byte("y")); err != nil {
				return err
			}
		}
	}
	if err := setMeta(at, base, h); err != nil {
		return err
	}
	return setTime(at, base, h.ModTime)
}

// clear makes room. It tells whether a whiteout was there: a directory in its place must stay opaque.
func (u *unpacker) clear(at int, name, base string, dir bool) (wasWhiteout bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir && dir {
		return false, nil
	}
	if !isDir {
		return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0, unix.Unlinkat(at, base, 0)
	}
	return false, os.RemoveAll(procPath(at, base))
}

func (u *unpacker) make(at int, base string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(at, base, 0o700); !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(at, base, content)
	case tar.TypeSymlink:
		return unix.Symlinkat(h.Linkname, at, base)
	case tar.TypeLink:
		return u.hardLink(at, base, h.Linkname)
	case tar.TypeFifo:
		return unix.Mknodat(at, base, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar, tar.TypeBlock:
		return device(at, base, h)
	}
	return fmt.Errorf("%w: unknown kind of entry %q", ErrHostile, h.Typeflag)
}

func device(at int, base string, h *tar.Header) error {
	if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 0xfff || h.Devminor > 0xfffff {
		return fmt.Errorf("%w: device %d:%d does not exist", ErrHostile, h.Devmajor, h.Devminor)
	}
	kind := uint32(unix.S_IFCHR)
	if h.Typeflag == tar.TypeBlock {
		kind = unix.S_IFBLK
	}
	if h.Devmajor == 0 && h.Devminor == 0 && kind == unix.S_IFCHR {
		return fmt.Errorf("%w: a whiteout in disguise (character device 0:0)", ErrHostile)
	}
	return unix.Mknodat(at, base, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
}

func (u *unpacker) file(at int, base string, content io.Reader) error {
	fd, err := unix.Openat(at, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, content, u.buf)
	return errors.Join(err, f.Close())
}

// hardLink links to another name of the same layer. It does not follow a symlink at the end.
func (u *unpacker) hardLink(at int, base, target string) error {
	name, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	dir, last := path.Split(name)
	from, err := u.resolve(path.Clean(dir))
	if err != nil {
		return fmt.Errorf("%w: hard link to %q: %v", ErrHostile, target, err)
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, last, at, base, 0); err != nil {
		return fmt.Errorf("%w: hard link to %q, which this layer does not have as a file: %v", ErrHostile, target, err)
	}
	return nil
}

// setMeta gives an entry its owner, mode and attributes; in this order, because chown clears setuid
// and file capabilities.
func setMeta(at int, base string, h *tar.Header) error {
	if err := unix.Fchownat(at, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting the owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(at, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("setting the mode: %w", err)
		}
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || !allowedXattr(attr) {
			continue
		}
		if len(value) > xattrBytesMax {
			return fmt.Errorf("%w: attribute %s has %d bytes", ErrLimit, attr, len(value))
		}
		err := setXattr(at, base, attr, []byte(value))
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("setting attribute %s: %w", attr, err)
		}
	}
	return nil
}

// allowedXattr keeps what programs use. overlayfs' own attributes would let a layer redirect paths,
// and labels belong to the machine that wrote them.
func allowedXattr(name string) bool {
	return name == "security.capability" || name == "system.posix_acl_access" || name == "system.posix_acl_default" ||
		strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func setXattr(at int, base, name string, value []byte) error {
	return unix.Lsetxattr(procPath(at, base), name, value, 0)
}

func setTime(at int, base string, t time.Time) error {
	if base == "" {
		base = "."
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return fmt.Errorf("%w: the time %v", ErrHostile, t)
	}
	return unix.UtimesNanoAt(at, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// procPath names an entry of an open directory for calls that take no descriptor.
func procPath(at int, base string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", at, base) }
