package oci

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// cgroupLayout knows where cgroups are: below PARENT/pods/UID, a directory a container.
type cgroupLayout struct {
	parent  string // without slashes at its ends
	unified bool   // pure cgroup v2
}

func newCgroupLayout(parent string) cgroupLayout {
	return cgroupLayout{parent: parent, unified: cgroups.IsCgroup2UnifiedMode()}
}

func (l cgroupLayout) pod(uid string) string { return "/" + path.Join(l.parent, "pods", uid) }

func (l cgroupLayout) container(uid, id string) string { return path.Join(l.pod(uid), id) }

// resources says r in libcontainer's words, for this machine's version of cgroups.
func (l cgroupLayout) resources(r runtime.Resources, rules []*devices.Rule) *cgroups.Resources {
	out := &cgroups.Resources{
		Devices:   rules,
		CpuQuota:  r.CPUQuota,
		CpuPeriod: r.CPUPeriod,
		Memory:    r.MemoryBytes,
	}
	if r.CPUQuota != 0 && r.CPUPeriod == 0 {
		out.CpuPeriod = defaultPeriod
	}
	if r.PidsMax != 0 {
		out.PidsLimit = &r.PidsMax
	}
	if l.unified {
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(r.CPUShares)
		out.MemorySwap = r.MemoryBytes // equal to memory: no swap
	} else {
		out.CpuShares = r.CPUShares
	}
	return out
}

func anyLimit(r runtime.Resources) bool {
	r.OOMScoreAdj = 0
	return r != runtime.Resources{}
}

// makePod makes a pod's cgroup with its limits. Without limits, the containers' own make it in passing.
func (l cgroupLayout) makePod(uid string, r runtime.Resources) error {
	if !anyLimit(r) {
		return nil
	}
	res := l.resources(r, nil)
	res.SkipDevices = true
	m, err := manager.New(&cgroups.Cgroup{Path: l.pod(uid), Resources: res})
	if err != nil {
		return fmt.Errorf("naming the pod's cgroup: %w", err)
	}
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("making the pod's cgroup: %w", err)
	}
	if err := m.Set(res); err != nil {
		return fmt.Errorf("limiting the pod's cgroup: %w", err)
	}
	return nil
}

// roots are the mount points of the hierarchies in use.
func (l cgroupLayout) roots() ([]string, error) {
	if l.unified {
		return []string{"/sys/fs/cgroup"}, nil
	}
	return hierarchies()
}

// hierarchies are the mount points of v1's, found once: a node does not mount others while pods run, and its table of mounts is long.
var hierarchies = sync.OnceValues(func() ([]string, error) {
	mounts, err := cgroups.GetCgroupMounts(true)
	if err != nil {
		return nil, fmt.Errorf("reading the cgroup mounts: %w", err)
	}
	seen := map[string]bool{}
	for _, m := range mounts {
		seen[m.Mountpoint] = true
	}
	if cgroups.IsCgroup2HybridMode() {
		seen["/sys/fs/cgroup/unified"] = true
	}
	return slices.Sorted(maps.Keys(seen)), nil
})

// remove deletes a cgroup and those below it, in every hierarchy.
func (l cgroupLayout) remove(name string) error {
	roots, err := l.roots()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range roots {
		if err := cgroups.RemovePath(filepath.Join(r, name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// members are the processes in a cgroup and below, in any hierarchy.
func (l cgroupLayout) members(name string) ([]int, error) {
	roots, err := l.roots()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, r := range roots {
		list, err := pidsBelow(filepath.Join(r, name))
		if err != nil {
			return nil, fmt.Errorf("listing the processes of cgroup %s: %w", name, err)
		}
		pids = append(pids, list...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// pidsBelow lists the processes of a cgroup's directory and of all below it. One that is gone has none.
func pidsBelow(dir string) ([]int, error) {
	pids, err := cgroupPids(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	// A directory of the kernel's has two links and one for each directory in it: reading the names in it, of files mostly, costs more.
	if err := unix.Lstat(dir, &st); err != nil || st.Nlink == 2 {
		return pids, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !isGone(err) {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := pidsBelow(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}

func cgroupPids(dir string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !isGone(err) {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isGone is how reading tells that a cgroup is not there, or has just been removed. A threaded one has its processes listed above it.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP)
}

// killAll sends SIGKILL to every process of a cgroup until none is left that could have forked. Most often it returns when they are gone.
func (l cgroupLayout) killAll(name string) error {
	if l.unified {
		f := filepath.Join("/sys/fs/cgroup", name, "cgroup.kill")
		if err := os.WriteFile(f, []byte("1"), 0); err == nil || errors.Is(err, os.ErrNotExist) && !exists(filepath.Dir(f)) {
			return nil
		}
	}
	killed := map[int]bool{}
	for range killRounds {
		pids, err := l.members(name)
		if err != nil || len(pids) == 0 {
			return err
		}
		// Who has been killed is listed for a moment more, but forks no more.
		pids = slices.DeleteFunc(pids, func(pid int) bool { return killed[pid] })
		if len(pids) == 0 {
			time.Sleep(killPause)
		}
		for _, p := range pids {
			if err := unix.Kill(p, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing process %d: %w", p, err)
			}
			killed[p] = true
		}
	}
	return nil
}

// awaitEmpty waits a while until the processes of a cgroup, which have been killed, are gone, and says whether they are.
func (l cgroupLayout) awaitEmpty(name string) bool {
	for pause := killPause; pause <= goneWait; pause *= 2 {
		if pids, err := l.members(name); err != nil || len(pids) == 0 {
			return err == nil
		}
		time.Sleep(pause)
	}
	return false
}

// oomKilled counts the processes of a container's cgroup that the kernel killed for memory.
func oomKilled(paths map[string]string) int {
	for _, f := range oomFiles(paths) {
		if b, err := os.ReadFile(f); err == nil {
			return counter(string(b), "oom_kill")
		}
	}
	return 0
}

// oomFiles are the places where the count may be, in the order of trust.
func oomFiles(paths map[string]string) []string {
	var out []string
	if dir := paths["memory"]; dir != "" {
		out = append(out, filepath.Join(dir, "memory.oom_control"))
	}
	if dir := paths[""]; dir != "" {
		out = append(out, filepath.Join(dir, "memory.events"))
	}
	return out
}

// counter finds "name value" in the lines of a cgroup's file.
func counter(text, name string) int {
	for line := range strings.Lines(text) {
		var n int
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == name {
			if _, err := fmt.Sscan(f[1], &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// execCgroups tells where a command must be put to be in the container's cgroups: the v2 directory that it is cloned into,
// and the v1 hierarchies' tasks files, in which it writes itself. A thread that moves itself through tasks does not stop all
// others of the machine from forking and ending meanwhile, as one does through cgroup.procs.
func execCgroups(paths map[string]string) (into string, tasks []string) {
	seen := map[string]bool{}
	for name, dir := range paths {
		switch {
		case dir == "" || seen[dir]:
		case name == "":
			into = dir
		default:
			seen[dir] = true
			tasks = append(tasks, filepath.Join(dir, "tasks"))
		}
	}
	sort.Strings(tasks)
	return into, tasks
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// RemoveCgroups removes the emptied cgroups of a parent from every hierarchy, and those above it that
// are empty then: for nodes that will not come back.
func RemoveCgroups(parent string) error {
	roots := []string{"/sys/fs/cgroup"}
	if found, err := filepath.Glob("/sys/fs/cgroup/*"); err == nil {
		roots = append(roots, found...)
	}
	var faults []error
	for _, root := range roots {
		dir := filepath.Join(root, parent)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		faults = append(faults, cgroups.RemovePath(dir))
		for up := filepath.Dir(dir); up != root && len(up) > len(root); up = filepath.Dir(up) {
			if os.Remove(up) != nil { // not empty: others live there
				break
			}
		}
	}
	return errors.Join(faults...)
}
