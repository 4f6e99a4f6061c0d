package demo

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tarTool packs and unpacks; kubectl cp is its main user.
func tarTool(c *call) int {
	if len(c.args) > 0 && !strings.HasPrefix(c.args[0], "-") { // tar xf and tar -xf are the same
		c.args = append([]string{"-" + c.args[0]}, c.args[1:]...)
	}
	o, err := parse(c.args, "cxtvzmpOhf:C:", map[string]string{"create": "c", "extract": "x", "list": "t", "file": "f", "directory": "C", "gzip": "z",
		"no-same-owner": "", "no-same-permissions": "", "numeric-owner": "", "warning": "", "overwrite": ""})
	if err != nil {
		return c.misuse("%v", err)
	}
	switch {
	case o.has("c"):
		err = c.pack(o)
	case o.has("x") || o.has("t"):
		err = c.unpack(o)
	default:
		return c.misuse("want -c, -x or -t")
	}
	if err != nil {
		c.fail(err)
		return 2
	}
	return 0
}

func (c *call) pack(o *options) (err error) {
	out := io.Writer(os.Stdout)
	if f := o.value["f"]; f != "" && f != "-" {
		file, err := os.Create(f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	if o.has("z") {
		z := gzip.NewWriter(out)
		defer func() { err = errors.Join(err, z.Close()) }()
		out = z
	}
	if dir := o.value["C"]; dir != "" {
		if err := os.Chdir(dir); err != nil {
			return err
		}
	}
	w := tar.NewWriter(out)
	for _, root := range o.rest {
		err := filepath.Walk(root, func(p string, st fs.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return c.add(w, o, p, st)
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

func (c *call) add(w *tar.Writer, o *options, p string, st fs.FileInfo) error {
	if st.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	if o.has("h") {
		to, err := os.Stat(p)
		if err != nil {
			return err
		}
		st = to
	}
	link := ""
	if st.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(p); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(st, link)
	if err != nil {
		return err
	}
	h.Name = strings.TrimLeft(p, "/")
	if h.Name == "" {
		h.Name = "."
	}
	if st.IsDir() {
		h.Name += "/"
	}
	if o.has("v") {
		fmt.Fprintln(os.Stderr, h.Name)
	}
	if err := w.WriteHeader(h); err != nil || !st.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(w, f, h.Size)
	return err
}

func (c *call) unpack(o *options) error {
	in := io.Reader(c.in)
	if f := o.value["f"]; f != "" && f != "-" {
		file, err := os.Open(f)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if o.has("z") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = z
	}
	dir := o.value["C"]
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name = filepath.Clean(strings.TrimLeft(h.Name, "/"))
		if len(o.rest) > 0 && !wanted(h.Name, o.rest) {
			continue
		}
		if o.has("t") || o.has("v") {
			fmt.Fprintln(c.out, h.Name)
		}
		if o.has("t") {
			continue
		}
		if err := extract(root, h, r, o); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func wanted(name string, list []string) bool {
	for _, l := range list {
		l = filepath.Clean(strings.TrimLeft(l, "/"))
		if name == l || strings.HasPrefix(name, l+"/") {
			return true
		}
	}
	return false
}

// extract writes one entry; os.Root refuses whatever leads out of the directory.
func extract(root *os.Root, h *tar.Header, r io.Reader, o *options) error {
	if o.has("O") {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		_, err := io.Copy(os.Stdout, r)
		return err
	}
	if dir := filepath.Dir(h.Name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(h.Name, mode|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeSymlink:
		return errors.Join(removed(root, h.Name), root.Symlink(h.Linkname, h.Name))
	case tar.TypeLink:
		return errors.Join(removed(root, h.Name), root.Link(filepath.Clean(h.Linkname), h.Name))
	case tar.TypeReg:
	default:
		return errors.New("not a kind of file that is unpacked here")
	}
	if err := removed(root, h.Name); err != nil {
		return err
	}
	f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil && !o.has("m") {
		err = root.Chtimes(h.Name, h.ModTime, h.ModTime)
	}
	return err
}

// removed makes room for an entry, as tar does.
func removed(root *os.Root, name string) error {
	err := root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EISDIR) {
		return nil
	}
	return err
}
