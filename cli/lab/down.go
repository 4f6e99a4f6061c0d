package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Down ends the lab and leaves nothing of it.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := lockDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return removeTraces(ctx, l.s.Name)
	}
	if err != nil {
		return err
	}
	defer unlock()
	return l.remove(ctx)
}

// Down ends the lab of a name in a directory, in whatever state it is, even if there is none.
// It tells whether there was anything to end.
func Down(ctx context.Context, name, dir string) (bool, error) {
	l, err := Open(dir)
	if err == nil {
		return true, l.Down(ctx)
	}
	if !errors.Is(err, ErrNoLab) {
		return true, err
	}
	// An Up that was killed in its first moments leaves an empty directory at most.
	_ = os.Remove(stateFile(dir) + ".new")
	was := os.Remove(dir) == nil
	_ = os.Remove(stateRoot)
	return was || hasTraces(name), removeTraces(ctx, name)
}

// remove undoes the lab in the order in which its parts depend on each other.
func (l *Lab) remove(ctx context.Context) error {
	faults := []error{l.killAll(ctx)}
	l.reapers.Wait()
	faults = append(faults, unmountBelow(l.dir))
	for _, n := range l.s.Nodes {
		faults = append(faults, removeLink(n.Link), removeNamespace(n.Namespace))
	}
	for _, n := range l.s.Nodes {
		awaitGone(n.Link)
	}
	faults = append(faults, removeBridge(l.s.Name, l.s.Bridge), removeTraces(ctx, l.s.Name))
	if err := errors.Join(faults...); err != nil {
		return err // lab.json stays, so that a second try finds everything
	}
	l.removeCopy()
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("removing the lab's directory: %w", err)
	}
	_ = os.Remove(stateRoot) // the last lab takes it along
	return nil
}

// killAll ends all processes of the lab: those in its cgroup, and recorded ones that left it.
func (l *Lab) killAll(ctx context.Context) error {
	c, err := openCgroup(path.Join(cgroupRoot, l.s.Name))
	if err != nil {
		return err
	}
	err = c.kill(ctx)
	for _, n := range l.s.Nodes {
		if n.Process.alive() {
			_ = unix.Kill(n.Process.PID, unix.SIGKILL)
		}
	}
	return err
}

// removeCopy deletes the kubeconfig that was written outside the directory, if it still is ours.
func (l *Lab) removeCopy() {
	if l.s.Kubeconfig == "" {
		return
	}
	ours, err1 := os.ReadFile(l.Kubeconfig())
	theirs, err2 := os.ReadFile(l.s.Kubeconfig)
	if err1 == nil && err2 == nil && bytes.Equal(ours, theirs) {
		_ = os.Remove(l.s.Kubeconfig)
	}
}

// removeTraces removes what is known to be a lab's by its name alone: processes, cgroups, namespaces.
func removeTraces(ctx context.Context, name string) error {
	c, err := openCgroup(path.Join(cgroupRoot, name))
	if err != nil {
		return err
	}
	if err := c.kill(ctx); err != nil {
		return err
	}
	faults := []error{c.remove()}
	for _, ns := range namespacesOf(name) {
		faults = append(faults, removeNamespace(ns))
	}
	for _, h := range c.trees {
		_ = os.Remove(filepath.Join(h.path, cgroupRoot)) // fails as long as another lab is in it
	}
	_ = os.Remove(netnsDir) // fails as long as a namespace is in it
	return errors.Join(faults...)
}

func hasTraces(name string) bool {
	c, err := openCgroup(path.Join(cgroupRoot, name))
	if err != nil {
		return false
	}
	found := len(namespacesOf(name)) > 0
	c.walk(func(hierarchy, string) { found = true })
	return found
}

// namespacesOf lists the namespaces whose names only this lab makes.
func namespacesOf(lab string) []string {
	form := regexp.MustCompile("^" + regexp.QuoteMeta(namespace(lab, "")) + `((server|client)[0-9]+|sim)$`)
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if form.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}

// unmountBelow unmounts everything below dir, the innermost first.
func unmountBelow(dir string) error {
	for range 10 { // a mount can hide others
		points, err := mountsBelow(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		for _, p := range slices.Backward(points) {
			if err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmounting %s: %w", p, err)
			}
			if !strings.HasPrefix(p, dir+"/") { // a root file system's mount point, in directories of its own
				for empty := p; os.Remove(empty) == nil; empty = filepath.Dir(empty) {
				}
			}
		}
	}
	return fmt.Errorf("something below %s is mounted again and again", dir)
}

// mountsBelow lists mount points in the order in which they were mounted; also those elsewhere of overlays that write below
// dir, which are root file systems of pods with users of their own.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	defer f.Close()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	var out []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay's options can be long
	for lines.Scan() {
		if p := mountPoint(lines.Text(), real); p != "" {
			out = append(out, p)
		}
	}
	return out, lines.Err()
}

// mountPoint is that of a line of mountinfo, if the mount is below dir or writes there.
func mountPoint(line, dir string) string {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	p, options := unescape.Replace(fields[4]), unescape.Replace(fields[len(fields)-1])
	if strings.HasPrefix(p, dir+"/") || strings.Contains(options, ",upperdir="+dir+"/") {
		return p
	}
	return ""
}

// unescape undoes what the kernel does to characters that would break a line of mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
