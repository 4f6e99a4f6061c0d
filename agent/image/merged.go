package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Open reads a file as a container would see it, through all layers, without mounting them.
// Symlinks stay inside the image. It returns fs.ErrNotExist if no layer has the file.
func (i *Image) Open(name string) (*os.File, error) {
	p, err := i.resolve(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// resolve walks name through the merged layers to the one file that shows.
func (i *Image) resolve(name string) (string, error) {
	todo := strings.Split(path.Clean("/" + name)[1:], "/")
	trail := [][]string{topFirst(i.Layers)} // the directories merged at each level
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		dirs, leaf, mode, err := lookup(trail[len(trail)-1], part)
		switch {
		case err != nil:
			return "", err
		case mode == unix.S_IFLNK:
			if links++; links > symlinksMax {
				return "", unix.ELOOP
			}
			target, err := os.Readlink(leaf)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				trail = trail[:1]
			}
			todo = append(strings.Split(target, "/"), todo...)
		case leaf != "" && len(todo) > 0:
			return "", unix.ENOTDIR
		case leaf != "" && mode != unix.S_IFREG:
			return "", errors.New("not a regular file")
		case leaf != "":
			return leaf, nil
		default:
			trail = append(trail, dirs)
		}
	}
	return "", unix.EISDIR
}

func topFirst(layers []string) []string {
	out := make([]string, len(layers))
	for n, l := range layers {
		out[len(layers)-1-n] = l
	}
	return out
}

// lookup finds part in the merged directories: either the directories that merge into it, or the
// one leaf (not a directory) and its type.
func lookup(dirs []string, part string) (below []string, leaf string, mode uint32, err error) {
	for _, d := range dirs {
		p := path.Join(d, part)
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, "", 0, err
		}
		mode := st.Mode & unix.S_IFMT
		if mode != unix.S_IFDIR {
			if len(below) > 0 || (mode == unix.S_IFCHR && st.Rdev == 0) {
				break // hidden by a directory above, or hiding
			}
			return nil, p, mode, nil
		}
		below = append(below, p)
		if opaque(p) {
			break
		}
	}
	if len(below) == 0 {
		return nil, "", 0, unix.ENOENT
	}
	return below, "", unix.S_IFDIR, nil
}

func opaque(dir string) bool {
	var v [1]byte
	n, err := unix.Lgetxattr(dir, opaqueXattr, v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

// readFile reads a small file of the image; a missing one is empty.
func (i *Image) readFile(name string, bytesMax int64) (string, error) {
	f, err := i.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err == nil && int64(len(b)) > bytesMax {
		err = fmt.Errorf("%w: %s of the image is larger than %d bytes", ErrLimit, name, bytesMax)
	}
	return string(b), err
}
