package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is the cgroup that holds all labs, in every hierarchy.
const cgroupRoot = "peapod-lab"

// hierarchy is one mounted cgroup tree.
type hierarchy struct {
	path     string   // where it is mounted
	root     string   // which of its directories is mounted there
	options  []string // controllers and name= of v1
	v2       bool
	readonly bool
}

func (h hierarchy) has(option string) bool { return !h.v2 && slices.Contains(h.options, option) }

// freezes tells whether it is v1's freezer.
func (h hierarchy) freezes() bool { return h.has("freezer") }

// hierarchies finds every cgroup tree: those of v1, pure v2, or both.
func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	defer f.Close()
	var out []hierarchy
	seen := map[string]bool{} // a hierarchy may be mounted twice
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		h, device, ok := parseHierarchy(lines.Text())
		if ok && !seen[device] && !h.readonly {
			seen[device] = true
			out = append(out, h)
		}
	}
	if len(out) == 0 && lines.Err() == nil {
		return nil, errors.New("no cgroup file system is mounted writably: mount cgroup2 on /sys/fs/cgroup")
	}
	return out, lines.Err()
}

// parseHierarchy reads a line of mountinfo: id parent device root mountpoint options ... - type source superoptions.
func parseHierarchy(line string) (h hierarchy, device string, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !found || len(l) < 6 || len(r) < 3 || (r[0] != "cgroup" && r[0] != "cgroup2") {
		return h, "", false
	}
	return hierarchy{
		path: l[4], root: l[3], options: strings.Split(r[2], ","), v2: r[0] == "cgroup2",
		readonly: slices.Contains(strings.Split(l[5], ","), "ro"),
	}, l[2], true
}

// threadHome is the calling thread's own cgroup in a v1 hierarchy, as a directory.
func (h hierarchy) threadHome() (string, error) {
	b, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		return "", fmt.Errorf("reading the thread's cgroups: %w", err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.SplitN(line, ":", 3) // number, controllers, path
		if len(f) == 3 && f[1] != "" && h.has(strings.Split(f[1], ",")[0]) {
			rel, err := filepath.Rel(h.root, f[2])
			if err != nil || strings.HasPrefix(rel, "..") {
				rel = ""
			}
			return filepath.Join(h.path, rel), nil
		}
	}
	return "", fmt.Errorf("this thread is in no cgroup of %s", h.path)
}

// cgroup is one node's cgroup: the same path in every hierarchy. The agent lives in its child "agent",
// because on v2 a cgroup with processes cannot pass controllers on to its children, the pods.
type cgroup struct {
	path  string
	trees []hierarchy
}

func openCgroup(path string) (cgroup, error) {
	trees, err := hierarchies()
	return cgroup{path, trees}, err
}

func (c cgroup) leaf() string { return path.Join(c.path, "agent") }

// create makes the cgroup and its leaf in every hierarchy.
func (c cgroup) create() error {
	for _, h := range c.trees {
		if err := h.create(c.leaf()); err != nil {
			return fmt.Errorf("making cgroup %s in %s: %w", c.leaf(), h.path, err)
		}
	}
	return nil
}

func (h hierarchy) create(name string) error {
	at := h.path
	for _, part := range strings.Split(name, "/") {
		parent := at
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if h.has("cpuset") {
			if err := inherit(parent, at, "cpuset.cpus", "cpuset.mems"); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies settings that v1 leaves empty in a new cgroup.
func inherit(parent, child string, files ...string) error {
	for _, name := range files {
		have, err := os.ReadFile(filepath.Join(child, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(have)) != "" {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(child, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// enterThread moves the calling thread into the leaf of every v1 hierarchy; children that it forks start
// there. For v2, where threads cannot move alone, it returns a directory to clone children into. The
// thread must leave again before anybody kills the cgroup, since its whole process is listed there.
func (c cgroup) enterThread() (into *os.File, leave func(), err error) {
	var undo []string
	leave = func() {
		for _, file := range undo {
			_ = writeTID(file) // the thread ends next, which serves as well
		}
		if into != nil {
			into.Close()
		}
	}
	for _, h := range c.trees {
		dir := filepath.Join(h.path, c.leaf())
		if h.v2 {
			into, err = os.Open(dir)
		} else {
			var home string
			if home, err = h.threadHome(); err == nil {
				undo = append(undo, filepath.Join(home, "tasks"))
				err = writeTID(filepath.Join(dir, "tasks"))
			}
		}
		if err != nil {
			leave()
			return nil, nil, fmt.Errorf("entering cgroup %s: %w", dir, err)
		}
	}
	return into, leave, nil
}

func writeTID(file string) error {
	return os.WriteFile(file, []byte(strconv.Itoa(unix.Gettid())), 0)
}

// walk calls f with every directory of the cgroup in every hierarchy, children before their parents.
func (c cgroup) walk(f func(h hierarchy, dir string)) {
	for _, h := range c.trees {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(h.path, c.path), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil // what has gone in the meantime needs nothing
		})
		for _, d := range slices.Backward(dirs) {
			f(h, d)
		}
	}
}

// pids are the processes of the cgroup and of those below it, in any hierarchy.
func (c cgroup) pids() []int {
	var out []int
	c.walk(func(_ hierarchy, dir string) { out = append(out, procs(dir)...) })
	slices.Sort(out)
	return slices.Compact(out)
}

// agents are the processes in the leaf: launcher, supervisor, agent, but no pod.
func (c cgroup) agents() []int {
	var out []int
	for _, h := range c.trees {
		out = append(out, procs(filepath.Join(h.path, c.leaf()))...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// procs are the processes of one directory, never our own, one of whose threads may be passing through.
func procs(dir string) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// kill ends every process of the cgroup with SIGKILL and returns when none is left. It does not use v2's
// cgroup.kill: kernel 6.18 goes on to kill what is later cloned into a cgroup that has been killed so.
func (c cgroup) kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	for {
		_ = c.freeze(ctx) // so that nothing forks while we send signals; what does not freeze is killed all the same
		pids := c.pids()
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		c.thawAll()
		if len(pids) == 0 {
			return nil
		}
		if err := c.awaitEmpty(ctx); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("processes %v of cgroup %s do not end", c.pids(), c.path)
		}
	}
}

// awaitEmpty waits a little for the killed to go.
func (c cgroup) awaitEmpty(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	for len(c.pids()) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(cgroupPoll):
		}
	}
	return nil
}

// remove deletes the cgroup, which must be empty, in every hierarchy.
func (c cgroup) remove() error {
	var last error
	for range 200 {
		last = nil
		c.walk(func(_ hierarchy, dir string) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				last = fmt.Errorf("removing cgroup %s: %w", dir, err)
			}
		})
		if last == nil {
			return nil
		}
		time.Sleep(cgroupPoll) // the kernel lets go of a dead process's cgroup a moment later
	}
	return last
}
