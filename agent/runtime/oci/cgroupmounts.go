package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	pods "github.com/peapod-sh/peapod/agent/runtime"
)

// cgroupDir is where a container sees its own cgroup.
const cgroupDir = "sys/fs/cgroup"

// mountsCgroups tells whether the agent mounts the hierarchies of cgroup v1 into a container by itself. libcontainer mounts each one
// and then makes it read-only, finds out anew every time where they are, and trusts no path on the way: a third of the processor time of its
// init. It stays libcontainer's work where there is one hierarchy only, on kernels that cannot make mounts before they are put anywhere, where files must be owned by another user's root, where mounts
// may travel on to the node, and where the pod has volumes near by, on which the order depends.
func (l cgroupLayout) mountsCgroups(spec pods.ContainerSpec, f frame) bool {
	if l.unified || f.userBase != 0 || !CanRecurseReadOnly() {
		return false
	}
	for _, m := range spec.Mounts {
		if target := filepath.Clean(m.Target); target == "/sys" || strings.HasPrefix(target, "/sys/") || m.Propagation != pods.PropagateNone {
			return false
		}
	}
	return true
}

// shownHierarchies are the mount points of v1's hierarchies, as libcontainer would show them.
var shownHierarchies = sync.OnceValues(func() ([]string, error) {
	mounts, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return nil, fmt.Errorf("reading the cgroup mounts: %w", err)
	}
	out := make([]string, 0, len(mounts))
	for _, m := range mounts {
		out = append(out, m.Mountpoint)
	}
	return out, nil
})

// mountCgroups shows a container, whose init waits behind its gate, its own cgroup in every hierarchy.
func (l cgroupLayout) mountCgroups(cgroup string, init int, writable bool) error {
	hierarchies, err := shownHierarchies()
	if err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC, Propagation: unix.MS_PRIVATE}
	if !writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	t, err := newCgroupTree(hierarchies, cgroup, attr)
	if err != nil {
		return err
	}
	defer t.close()
	if err := inMountNamespace(init, func() error { return t.attach(attr) }); err != nil {
		return fmt.Errorf("mounting the cgroups of a container: %w", err)
	}
	return nil
}

// cgroupTree is a file system of directories and what is to be mounted on them, none of it attached yet.
type cgroupTree struct {
	root   *os.File
	mounts []*os.File // their names are those of the directories
}

func (t *cgroupTree) close() { closeFiles(append(t.mounts, t.root)) }

func newCgroupTree(hierarchies []string, cgroup string, attr unix.MountAttr) (_ *cgroupTree, err error) {
	t := &cgroupTree{}
	if t.root, err = newTmpfs("mode=755"); err != nil {
		return nil, err
	}
	for _, h := range hierarchies {
		if err := t.add(filepath.Base(h), filepath.Join(h, cgroup), attr); err != nil {
			t.close()
			return nil, fmt.Errorf("preparing the cgroup mount of %s: %w", h, err)
		}
	}
	return t, nil
}

// newTmpfs makes a file system in memory that is mounted nowhere yet.
func newTmpfs(mode string) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	key, value, _ := strings.Cut(mode, "=")
	if err := unix.FsconfigSetString(fs, key, value); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// add makes a directory for the hierarchy in dir, links of its single controllers to it, and a mount to be put there. A hierarchy in which the
// container has no cgroup is not shown.
func (t *cgroupTree) add(name, dir string, attr unix.MountAttr) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	t.mounts = append(t.mounts, os.NewFile(uintptr(fd), name))
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	root := int(t.root.Fd())
	if err := unix.Mkdirat(root, name, 0o755); err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	if !strings.Contains(name, ",") {
		return nil
	}
	for controller := range strings.SplitSeq(name, ",") {
		if err := unix.Symlinkat(name, root, controller); err != nil {
			return os.NewSyscallError("symlinkat", err)
		}
	}
	return nil
}

// attach puts the tree where this thread's root has the place for it. The container's program does not run yet; its image can only
// have something else in the place if it is no file system of the kernel's any more, and no link is followed.
func (t *cgroupTree) attach(attr unix.MountAttr) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	slash, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(slash)
	place, err := unix.Openat2(slash, cgroupDir, &how)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(place)
	root := int(t.root.Fd())
	if err := unix.MoveMount(root, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	for _, m := range t.mounts {
		if err := unix.MoveMount(int(m.Fd()), "", root, m.Name(), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return os.NewSyscallError("move_mount", err)
		}
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(root, "", unix.AT_EMPTY_PATH, &attr))
}

// inMountNamespace runs f on a thread that sees the files of a process.
func inMountNamespace(pid int, f func() error) error {
	return onOwnThread(func() error {
		ns, err := openFile(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer ns.Close()
		// Threads share their root and their working directory, and only one who shares neither may go elsewhere.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// onOwnThread runs f on a thread that ends with it.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go lockedAway(done, f)
	return <-done
}

// lockedAway keeps its thread until it returns, which ends the thread. Not the main one, which Go would not end: it is the one that /proc/self shows.
func lockedAway(done chan<- error, f func() error) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		done <- f()
		return
	}
	inner := make(chan error, 1)
	go lockedAway(inner, f) // on another thread, since this one is taken
	done <- <-inner
	runtime.UnlockOSThread()
}
