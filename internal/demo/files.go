package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func cat(c *call) int {
	o, err := parse(c.args, "nu", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	line := 0
	return c.inputs(o.rest, func(_ string, r io.Reader) error {
		if !o.has("n") {
			_, err := io.Copy(os.Stdout, r)
			return err
		}
		return eachLine(r, func(s string) bool {
			line++
			fmt.Fprintf(c.out, "%6d\t%s\n", line, s)
			return true
		})
	})
}

func tee(c *call) int {
	o, err := parse(c.args, "ai", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if o.has("a") {
		flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	outs := []io.Writer{os.Stdout}
	code := c.each(o.rest, func(n string) error {
		f, err := os.OpenFile(n, flags, 0o666)
		if err == nil {
			outs = append(outs, f)
		}
		return err
	})
	if _, err := io.Copy(io.MultiWriter(outs...), c.in); err != nil {
		return c.fail(err)
	}
	return code
}

func touch(c *call) int {
	o, err := parse(c.args, "cam", nil)
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want files %v", orNone(err))
	}
	return c.each(o.rest, func(n string) error {
		now := time.Now()
		err := os.Chtimes(n, now, now)
		if !errors.Is(err, fs.ErrNotExist) || o.has("c") {
			return err
		}
		f, err := os.OpenFile(n, os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// orNone prints an error or nothing.
func orNone(err error) string {
	if err == nil {
		return ""
	}
	return "(" + err.Error() + ")"
}

func mkdir(c *call) int {
	o, err := parse(c.args, "pm:", map[string]string{"parents": "p", "mode": "m"})
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want directories %v", orNone(err))
	}
	mode := fs.FileMode(0o777)
	if o.has("m") {
		n, err := strconv.ParseUint(o.value["m"], 8, 12)
		if err != nil {
			return c.misuse("mode %q is not octal", o.value["m"])
		}
		mode = fs.FileMode(n)
	}
	return c.each(o.rest, func(n string) error {
		make := os.Mkdir
		if o.has("p") {
			make = os.MkdirAll
		}
		if err := make(n, mode); err != nil || !o.has("m") {
			return err
		}
		return os.Chmod(n, unixMode(uint32(mode)))
	})
}

func rmdir(c *call) int {
	o, err := parse(c.args, "", nil)
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want directories %v", orNone(err))
	}
	return c.each(o.rest, func(n string) error {
		if st, err := os.Lstat(n); err == nil && !st.IsDir() {
			return fmt.Errorf("%s: not a directory", n)
		}
		return os.Remove(n)
	})
}

func rm(c *call) int {
	o, err := parse(c.args, "rRfv", map[string]string{"recursive": "r", "force": "f"})
	if err != nil || (len(o.rest) == 0 && !o.has("f")) {
		return c.misuse("want files %v", orNone(err))
	}
	return c.each(o.rest, func(n string) error {
		st, err := os.Lstat(n)
		if errors.Is(err, fs.ErrNotExist) && o.has("f") {
			return nil
		}
		switch clean := filepath.Clean(n); {
		case err != nil:
			return err
		case clean == "/" || clean == "." || filepath.Base(clean) == "..":
			return fmt.Errorf("%s: refusing to remove this directory", n)
		case !st.IsDir():
			return os.Remove(n)
		case !o.has("r") && !o.has("R"):
			return fmt.Errorf("%s: is a directory (use -r)", n)
		}
		return os.RemoveAll(n)
	})
}

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

func mv(c *call) int {
	o, err := parse(c.args, "fnv", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	src, dst, err := o.operands()
	if err != nil {
		return c.misuse("%v", err)
	}
	return c.each(src, func(n string) error {
		to := target(dst, n)
		if _, err := os.Lstat(to); err == nil && o.has("n") {
			return nil
		}
		err := os.Rename(n, to)
		if !isCrossDevice(err) {
			return err
		}
		if err := copyTree(n, to, true, true); err != nil {
			return err
		}
		return os.RemoveAll(n)
	})
}

func ln(c *call) int {
	o, err := parse(c.args, "sfnv", nil)
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want TARGET [NAME] %v", orNone(err))
	}
	if len(o.rest) == 1 {
		o.rest = append(o.rest, filepath.Base(o.rest[0]))
	}
	src, dst, err := o.operands()
	if err != nil {
		return c.misuse("%v", err)
	}
	return c.each(src, func(n string) error {
		to := target(dst, n)
		if st, err := os.Lstat(dst); err == nil && o.has("n") && st.Mode()&fs.ModeSymlink != 0 {
			to = dst
		}
		if o.has("f") {
			if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if o.has("s") {
			return os.Symlink(n, to)
		}
		return os.Link(n, to)
	})
}

func chmod(c *call) int {
	recursive, rest := false, c.args
	if len(rest) > 0 && rest[0] == "-R" { // -x and the like are modes, so no option parser here
		recursive, rest = true, rest[1:]
	}
	if len(rest) < 2 {
		return c.misuse("want MODE FILE...")
	}
	return c.each(rest[1:], func(n string) error {
		return walk(n, recursive, func(p string, st fs.FileInfo) error {
			m, err := parseMode(rest[0], unixBits(st.Mode()), st.IsDir())
			if err != nil || st.Mode()&fs.ModeSymlink != 0 {
				return err
			}
			return os.Chmod(p, unixMode(m))
		})
	})
}

// walk visits one file, or everything beneath it.
func walk(root string, recursive bool, do func(string, fs.FileInfo) error) error {
	if !recursive {
		st, err := os.Stat(root)
		if err != nil {
			return err
		}
		return do(root, st)
	}
	return filepath.Walk(root, func(p string, st fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return do(p, st)
	})
}

// parseMode reads an octal or symbolic mode (u+x,go-w,a=r) and applies it to old.
func parseMode(s string, old uint32, dir bool) (uint32, error) {
	if n, err := strconv.ParseUint(s, 8, 12); err == nil {
		return uint32(n), nil
	}
	for clause := range strings.SplitSeq(s, ",") {
		at := strings.IndexAny(clause, "+-=")
		if at < 0 {
			return 0, fmt.Errorf("invalid mode %q", s)
		}
		who, err := classes(clause[:at])
		if err != nil {
			return 0, fmt.Errorf("invalid mode %q", s)
		}
		bits, err := permissions(clause[at+1:], dir || old&0o111 != 0)
		if err != nil {
			return 0, fmt.Errorf("invalid mode %q", s)
		}
		switch bits &= who; clause[at] {
		case '+':
			old |= bits
		case '-':
			old &^= bits
		case '=':
			old = old&^(who&0o777) | bits
		}
	}
	return old, nil
}

func classes(s string) (uint32, error) {
	known := map[rune]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}
	if s == "" {
		return 0o7777, nil
	}
	var m uint32
	for _, r := range s {
		if known[r] == 0 {
			return 0, errors.New("no such class")
		}
		m |= known[r]
	}
	return m, nil
}

func permissions(s string, exec bool) (uint32, error) {
	known := map[rune]uint32{'r': 0o444, 'w': 0o222, 'x': 0o111, 's': 0o6000, 't': 0o1000}
	var m uint32
	for _, r := range s {
		switch {
		case r == 'X' && exec:
			m |= 0o111
		case r == 'X':
		case known[r] == 0:
			return 0, errors.New("no such permission")
		default:
			m |= known[r]
		}
	}
	return m, nil
}

// unixMode turns the kernel's twelve bits into Go's.
func unixMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	for bit, g := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			out |= g
		}
	}
	return out
}

func unixBits(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for bit, g := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&g != 0 {
			out |= bit
		}
	}
	return out
}

func chown(c *call) int {
	o, err := parse(c.args, "Rh", nil)
	if err != nil || len(o.rest) < 2 {
		return c.misuse("want [USER][:GROUP] FILE... %v", orNone(err))
	}
	uid, gid, err := parseOwner(o.rest[0])
	if err != nil {
		return c.fail(err)
	}
	return c.each(o.rest[1:], func(n string) error {
		return walk(n, o.has("R"), func(p string, _ fs.FileInfo) error { return os.Lchown(p, uid, gid) })
	})
}

func parseOwner(s string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(s, ":")
	uid, gid = -1, -1
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, 0, err
			}
			uid, _ = strconv.Atoi(u.Uid) // a number on Linux
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return 0, 0, err
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return uid, gid, nil
}

func readlink(c *call) int {
	o, err := parse(c.args, "fen", nil)
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want a link %v", orNone(err))
	}
	return c.each(o.rest, func(n string) error {
		read := os.Readlink
		if o.has("f") || o.has("e") {
			read = func(n string) (string, error) {
				p, err := filepath.EvalSymlinks(n)
				if err != nil {
					return "", err
				}
				return filepath.Abs(p)
			}
		}
		s, err := read(n)
		if err == nil {
			fmt.Fprintln(c.out, s)
		}
		return err
	})
}

func basename(c *call) int {
	if len(c.args) == 0 {
		return c.misuse("want a path")
	}
	b := filepath.Base(c.args[0])
	if len(c.args) > 1 && b != c.args[1] {
		b = strings.TrimSuffix(b, c.args[1])
	}
	fmt.Fprintln(c.out, b)
	return 0
}

func dirname(c *call) int {
	if len(c.args) == 0 {
		return c.misuse("want a path")
	}
	return c.each(c.args, func(n string) error {
		fmt.Fprintln(c.out, filepath.Dir(n))
		return nil
	})
}

func pwd(c *call) int {
	d, err := os.Getwd()
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.out, d)
	return 0
}
