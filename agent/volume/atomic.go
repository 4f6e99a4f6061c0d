package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is one file of a volume.
type File struct {
	Data []byte
	Mode os.FileMode
	UID  int // its owner
}

const (
	dataLink = "..data"     // a symlink to the directory with the current files
	nextLink = "..data_tmp" // the same, while it is being replaced
)

// Write makes dir show exactly these files, all at once: they are written into a fresh directory, and
// one rename of the symlink ..data makes them visible. The user's names are symlinks through ..data, so a
// reader sees the old set or the new one. Names may have directories in them but never leave dir.
// GID, if not negative, owns the files. It returns whether anything changed.
func Write(dir string, files map[string]File, gid int) (bool, error) {
	for name := range files {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return false, fmt.Errorf("file name %q leaves its volume", name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err == nil && same(filepath.Join(dir, old), files) {
		return false, link(dir, files)
	}
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return false, err
	}
	if err := fill(fresh, files, gid); err != nil {
		return false, errors.Join(err, os.RemoveAll(fresh))
	}
	if err := swap(dir, filepath.Base(fresh)); err != nil {
		return false, errors.Join(err, os.RemoveAll(fresh))
	}
	if err := errors.Join(link(dir, files), unlink(dir, files)); err != nil {
		return true, err
	}
	return true, sweep(dir, filepath.Base(fresh))
}

func fill(dir string, files map[string]File, gid int) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := f.Mode
		if gid >= 0 {
			mode |= groupReads
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			return err
		}
		if f.UID > 0 {
			if err := os.Lchown(path, f.UID, -1); err != nil {
				return err
			}
		}
		if gid >= 0 {
			if err := os.Lchown(path, -1, gid); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, mode); err != nil { // the umask does not count
			return err
		}
	}
	return nil
}

// same says whether a directory has exactly these files.
func same(dir string, files map[string]File) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := files[rel]
		if !ok {
			return errDiffers
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if string(b) != string(f.Data) || st.Mode().Perm()&^groupReads != f.Mode.Perm()&^groupReads {
			return errDiffers
		}
		found++
		return nil
	})
	return err == nil && found == len(files)
}

var errDiffers = errors.New("differs")

// swap points ..data at target in one step.
func swap(dir, target string) error {
	next := filepath.Join(dir, nextLink)
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, dataLink))
}

// tops are the first path elements of the files: what the user sees in dir.
func tops(files map[string]File) map[string]bool {
	out := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(filepath.Clean(name), "/")
		out[first] = true
	}
	return out
}

func link(dir string, files map[string]File) error {
	for name := range tops(files) {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join(dataLink, name), path); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes names that no file stands behind any more.
func unlink(dir string, files map[string]File) error {
	keep := tops(files)
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), "..") || keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the directories of earlier writes, also of one that was interrupted.
func sweep(dir, current string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if n := e.Name(); n != current && strings.HasPrefix(n, "..2") && e.IsDir() {
			if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}
