package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
