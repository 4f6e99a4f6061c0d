package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

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
