package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// size reads a number with dd's unit letters.
func size(s string) (int64, error) {
	unit := int64(1)
	for i, u := range "cwbkMGT" {
		if strings.HasSuffix(strings.TrimSuffix(s, "B"), string(u)) || (u == 'k' && strings.HasSuffix(s, "K")) {
			unit = []int64{1, 2, 512, 1 << 10, 1 << 20, 1 << 30, 1 << 40}[i]
			s = strings.TrimRight(s, "cwbkKMGTB")
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n * unit, nil
}

func dd(c *call) int {
	v, n := map[string]string{}, map[string]int64{"bs": 512, "count": -1}
	for _, a := range c.args {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "if", "of", "conv", "status", "oflag", "iflag":
			v[key] = value
		case "bs", "count", "skip", "seek":
			k, err := size(value)
			if err != nil {
				return c.misuse("%s: %v", key, err)
			}
			n[key] = k
		default:
			return c.misuse("unknown operand %q", a)
		}
	}
	if n["bs"] < 1 || n["bs"] > 1<<30 {
		return c.misuse("bs: want 1 byte to 1G")
	}
	start := time.Now()
	blocks, bytes, err := copyBlocks(c.in, v, n)
	if v["status"] != "none" {
		fmt.Fprintf(os.Stderr, "%d+%d records in\n%d+%d records out\n", blocks, partial(bytes, n["bs"]), blocks, partial(bytes, n["bs"]))
		fmt.Fprintf(os.Stderr, "%d bytes (%s) copied, %.6f s\n", bytes, human(uint64(bytes)), time.Since(start).Seconds())
	}
	if err != nil {
		return c.fail(err)
	}
	return 0
}

func partial(bytes, block int64) int {
	if bytes%block != 0 {
		return 1
	}
	return 0
}

func copyBlocks(in *os.File, v map[string]string, n map[string]int64) (blocks, bytes int64, err error) {
	out := os.Stdout
	if v["if"] != "" {
		if in, err = os.Open(v["if"]); err != nil {
			return 0, 0, err
		}
		defer in.Close()
	}
	if v["of"] != "" {
		flags := os.O_CREATE | os.O_WRONLY
		if !strings.Contains(v["conv"], "notrunc") && n["seek"] == 0 {
			flags |= os.O_TRUNC
		}
		if out, err = os.OpenFile(v["of"], flags, 0o666); err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		if _, err := out.Seek(n["seek"]*n["bs"], io.SeekStart); n["seek"] > 0 && err != nil {
			return 0, 0, err
		}
	}
	if n["skip"] > 0 {
		if _, err := io.CopyN(io.Discard, in, n["skip"]*n["bs"]); err != nil {
			return 0, 0, err
		}
	}
	buf := make([]byte, n["bs"])
	for n["count"] < 0 || blocks < n["count"] {
		k, rerr := io.ReadFull(in, buf)
		w, werr := out.Write(buf[:k])
		bytes += int64(w)
		if werr != nil {
			return blocks, bytes, werr
		}
		if rerr == io.EOF || rerr == io.ErrUnexpectedEOF {
			break
		}
		if rerr != nil {
			return blocks, bytes, rerr
		}
		blocks++
	}
	if strings.Contains(v["conv"], "fsync") {
		return blocks, bytes, out.Sync()
	}
	return blocks, bytes, nil
}

// mounts calls do with the fields of each mounted file system.
func mounts(do func(source, target, kind, options string)) error {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if w := strings.Fields(s.Text()); len(w) >= 4 {
			do(w[0], strings.ReplaceAll(w[1], `\040`, " "), w[2], w[3])
		}
	}
	return s.Err()
}

func df(c *call) int {
	o, err := parse(c.args, "hkTP", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	show := func(n uint64) string {
		if o.has("h") {
			return human(n)
		}
		return fmt.Sprint(n >> 10)
	}
	fmt.Fprintf(c.out, "%-20s %12s %12s %12s %4s %s\n", "Filesystem", "Size", "Used", "Available", "Use%", "Mounted on")
	line := func(source, target string) error {
		var st unix.Statfs_t
		if err := unix.Statfs(target, &st); err != nil {
			return &os.PathError{Op: "statfs", Path: target, Err: err}
		}
		if st.Blocks == 0 {
			return nil
		}
		size, free, avail := st.Blocks*uint64(st.Bsize), st.Bfree*uint64(st.Bsize), st.Bavail*uint64(st.Bsize)
		use := (size - free) * 100 / max(1, size-free+avail)
		fmt.Fprintf(c.out, "%-20s %12s %12s %12s %3d%% %s\n", source, show(size), show(size-free), show(avail), use, target)
		return nil
	}
	if len(o.rest) > 0 {
		return c.each(o.rest, func(n string) error { return line("-", n) })
	}
	if err := mounts(func(source, target, _, _ string) { _ = line(source, target) }); err != nil { // some may not be looked at
		return c.fail(err)
	}
	return 0
}

var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "rw": 0, "bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "remount": unix.MS_REMOUNT,
	"noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noatime": unix.MS_NOATIME,
}

func mount(c *call) int {
	o, err := parse(c.args, "t:o:", map[string]string{"bind": "b"})
	if err != nil || (len(o.rest) != 0 && len(o.rest) != 2) {
		return c.misuse("want [-t TYPE] [-o OPTIONS] SOURCE TARGET %v", orNone(err))
	}
	if len(o.rest) == 0 {
		err := mounts(func(s, t, k, opts string) { fmt.Fprintf(c.out, "%s on %s type %s (%s)\n", s, t, k, opts) })
		if err != nil {
			return c.fail(err)
		}
		return 0
	}
	flags, data := uintptr(0), []string{}
	for opt := range strings.SplitSeq(o.value["o"], ",") {
		if f, ok := mountFlags[opt]; ok {
			flags |= f
		} else if opt != "" {
			data = append(data, opt)
		}
	}
	if o.has("b") {
		flags |= unix.MS_BIND
	}
	if err := syscall.Mount(o.rest[0], o.rest[1], o.value["t"], flags, strings.Join(data, ",")); err != nil {
		return c.fail(fmt.Errorf("%s on %s: %w", o.rest[0], o.rest[1], err))
	}
	return 0
}

func umount(c *call) int {
	o, err := parse(c.args, "lf", nil)
	if err != nil || len(o.rest) == 0 {
		return c.misuse("want mount points %v", orNone(err))
	}
	flags := 0
	if o.has("l") {
		flags |= unix.MNT_DETACH
	}
	if o.has("f") {
		flags |= unix.MNT_FORCE
	}
	return c.each(o.rest, func(n string) error {
		if err := unix.Unmount(n, flags); err != nil {
			return &os.PathError{Op: "umount", Path: n, Err: err}
		}
		return nil
	})
}

func syncTool(*call) int {
	unix.Sync()
	return 0
}
