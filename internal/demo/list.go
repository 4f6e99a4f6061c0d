package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func owner(st fs.FileInfo) (uid, gid int, ok bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}

func isCrossDevice(err error) bool { return errors.Is(err, syscall.EXDEV) }

func ls(c *call) int {
	o, err := parse(c.args, "laA1hdRtrSinF", map[string]string{"all": "a", "color": ""})
	if err != nil {
		return c.misuse("%v", err)
	}
	if len(o.rest) == 0 {
		o.rest = []string{"."}
	}
	return c.each(o.rest, func(n string) error {
		st, err := os.Lstat(n)
		if err != nil {
			return err
		}
		if to, err := os.Stat(n); err == nil && !o.has("l") {
			st = to
		}
		if !st.IsDir() || o.has("d") {
			c.entry(o, n, n, st)
			return nil
		}
		return c.directory(o, n, len(o.rest) > 1 || o.has("R"))
	})
}

func (c *call) directory(o *options, dir string, heading bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if heading {
		fmt.Fprintf(c.out, "%s:\n", dir)
	}
	var all []fs.FileInfo
	for _, e := range entries {
		hidden := strings.HasPrefix(e.Name(), ".") && !o.has("a") && !o.has("A")
		if st, err := e.Info(); err == nil && !hidden { // gone meanwhile otherwise
			all = append(all, st)
		}
	}
	switch {
	case o.has("t"):
		slices.SortStableFunc(all, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	case o.has("S"):
		slices.SortStableFunc(all, func(a, b fs.FileInfo) int { return int(b.Size() - a.Size()) })
	}
	if o.has("r") {
		slices.Reverse(all)
	}
	if o.has("a") {
		for _, n := range []string{".", ".."} {
			if st, err := os.Stat(filepath.Join(dir, n)); err == nil {
				c.entry(o, n, filepath.Join(dir, n), st)
			}
		}
	}
	for _, st := range all {
		c.entry(o, st.Name(), filepath.Join(dir, st.Name()), st)
	}
	if !o.has("R") {
		return nil
	}
	for _, st := range all {
		if st.IsDir() {
			fmt.Fprintln(c.out)
			if err := c.directory(o, filepath.Join(dir, st.Name()), true); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) entry(o *options, name, path string, st fs.FileInfo) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if o.has("i") && ok {
		fmt.Fprintf(c.out, "%8d ", s.Ino)
	}
	if !o.has("l") || !ok {
		fmt.Fprintln(c.out, name)
		return
	}
	size := fmt.Sprint(st.Size())
	if o.has("h") {
		size = human(uint64(st.Size()))
	}
	if st.Mode()&fs.ModeDevice != 0 {
		size = fmt.Sprintf("%d, %d", s.Rdev>>8&0xfff, s.Rdev&0xff)
	}
	who, group := fmt.Sprint(s.Uid), fmt.Sprint(s.Gid)
	if !o.has("n") {
		who, group = userName(s.Uid), groupName(s.Gid)
	}
	link := ""
	if st.Mode()&fs.ModeSymlink != 0 {
		to, _ := os.Readlink(path) // "" if gone meanwhile
		link = " -> " + to
	}
	fmt.Fprintf(c.out, "%s %4d %-8s %-8s %9s %s %s%s\n", modeString(s.Mode), s.Nlink, who, group, size, when(st.ModTime()), name, link)
}

func when(t time.Time) string {
	if age := time.Since(t); age > 180*24*time.Hour || age < -time.Hour {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}

// modeString is the ten letters of ls -l.
func modeString(m uint32) string {
	kinds := map[uint32]byte{
		syscall.S_IFREG: '-', syscall.S_IFDIR: 'd', syscall.S_IFLNK: 'l', syscall.S_IFCHR: 'c',
		syscall.S_IFBLK: 'b', syscall.S_IFIFO: 'p', syscall.S_IFSOCK: 's',
	}
	b := []byte("?rwxrwxrwx")
	b[0] = kinds[m&syscall.S_IFMT]
	for i := range 9 {
		if m&(1<<(8-i)) == 0 {
			b[i+1] = '-'
		}
	}
	for _, s := range []struct {
		bit       uint32
		at        int
		low, high byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if m&s.bit == 0 {
			continue
		}
		if b[s.at] == 'x' {
			b[s.at] = s.low
		} else {
			b[s.at] = s.high
		}
	}
	return string(b)
}

// human writes bytes with a unit, as -h does.
func human(n uint64) string {
	if n < 1024 {
		return fmt.Sprint(n)
	}
	f, units := float64(n), "KMGTPE"
	for f /= 1024; f >= 1024 && len(units) > 1; f /= 1024 {
		units = units[1:]
	}
	return fmt.Sprintf("%.1f%c", f, units[0])
}

func stat(c *call) int {
	o, err := parse(c.args, "Lc:", map[string]string{"format": "c"})
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want files %v", orNone(err))
	}
	return c.each(o.rest, func(n string) error {
		get := os.Lstat
		if o.has("L") {
			get = os.Stat
		}
		st, err := get(n)
		if err != nil {
			return err
		}
		s := st.Sys().(*syscall.Stat_t)
		values := strings.NewReplacer("%%", "%", "%n", n, "%s", fmt.Sprint(s.Size), "%a", fmt.Sprintf("%o", s.Mode&0o7777), "%A", modeString(s.Mode),
			"%u", fmt.Sprint(s.Uid), "%g", fmt.Sprint(s.Gid), "%U", userName(s.Uid), "%G", groupName(s.Gid), "%i", fmt.Sprint(s.Ino),
			"%h", fmt.Sprint(s.Nlink), "%Y", fmt.Sprint(st.ModTime().Unix()), "%y", st.ModTime().String(), "%d", fmt.Sprint(s.Dev),
			"%F", fileKind(s.Mode), "%b", fmt.Sprint(s.Blocks), "%B", "512")
		format := "  File: %n\n  Size: %s\tBlocks: %b\t%F\nDevice: %d\tInode: %i\tLinks: %h\nAccess: (%a/%A)\tUid: %u/%U\tGid: %g/%G\nModify: %y"
		if o.has("c") {
			format = o.value["c"]
		}
		fmt.Fprintln(c.out, values.Replace(format))
		return nil
	})
}

func fileKind(m uint32) string {
	switch m & syscall.S_IFMT {
	case syscall.S_IFDIR:
		return "directory"
	case syscall.S_IFLNK:
		return "symbolic link"
	case syscall.S_IFCHR:
		return "character special file"
	case syscall.S_IFBLK:
		return "block special file"
	case syscall.S_IFIFO:
		return "fifo"
	case syscall.S_IFSOCK:
		return "socket"
	}
	return "regular file"
}
