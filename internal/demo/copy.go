package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// target is where an operand goes: into the destination if that is a directory.
func target(dst, src string) string {
	if st, err := os.Stat(dst); err == nil && st.IsDir() {
		return filepath.Join(dst, filepath.Base(src))
	}
	return dst
}

// operands splits SOURCE... DESTINATION; several sources need a directory.
func (o *options) operands() (src []string, dst string, err error) {
	if len(o.rest) < 2 {
		return nil, "", errors.New("want SOURCE... DESTINATION")
	}
	src, dst = o.rest[:len(o.rest)-1], o.rest[len(o.rest)-1]
	if st, err := os.Stat(dst); len(src) > 1 && (err != nil || !st.IsDir()) {
		return nil, "", fmt.Errorf("%s: not a directory", dst)
	}
	return src, dst, nil
}

func cp(c *call) int {
	o, err := parse(c.args, "rRafpPdLv", map[string]string{"recursive": "r", "archive": "a", "force": "f"})
	if err != nil {
		return c.misuse("%v", err)
	}
	src, dst, err := o.operands()
	if err != nil {
		return c.misuse("%v", err)
	}
	deep, keep := o.has("r") || o.has("R") || o.has("a"), o.has("p") || o.has("a")
	return c.each(src, func(n string) error { return copyTree(n, target(dst, n), deep, keep) })
}

func copyTree(src, dst string, deep, keep bool) error {
	stat := os.Stat
	if deep {
		stat = os.Lstat
	}
	st, err := stat(src)
	if err != nil {
		return err
	}
	if to, err := os.Stat(dst); err == nil && os.SameFile(st, to) {
		return fmt.Errorf("%s and %s are the same file", src, dst)
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(to, dst)
	case st.IsDir() && !deep:
		return fmt.Errorf("%s: is a directory (use -r)", src)
	case st.IsDir():
		err = copyDir(src, dst, st, keep)
	default:
		err = copyFile(src, dst, st)
	}
	if err == nil && keep {
		return copyMeta(dst, st)
	}
	return err
}

func copyDir(src, dst string, st fs.FileInfo, keep bool) error {
	abs, err := filepath.Abs(dst)
	if err != nil {
		return err
	}
	if from, err := filepath.Abs(src); err != nil || strings.HasPrefix(abs+"/", from+"/") {
		return fmt.Errorf("%s: cannot be copied into itself", src)
	}
	if err := os.Mkdir(dst, st.Mode().Perm()|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	names, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := copyTree(filepath.Join(src, n.Name()), filepath.Join(dst, n.Name()), true, keep); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(src, dst string, st fs.FileInfo) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyMeta(dst string, st fs.FileInfo) error {
	if uid, gid, ok := owner(st); ok {
		if err := os.Lchown(dst, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(dst, st.Mode()); err != nil {
		return err
	}
	return os.Chtimes(dst, st.ModTime(), st.ModTime())
}
