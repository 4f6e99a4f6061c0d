package oci

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// checkMachine finds out early, in words, why containers cannot run here.
func checkMachine(stateDir string) error {
	if os.Geteuid() != 0 {
		return errors.New("running containers needs root: start the agent as root, or with --sim to try without containers")
	}
	if err := checkOverlay(); err != nil {
		return err
	}
	if err := checkStateFS(stateDir); err != nil {
		return err
	}
	return checkCgroups()
}

// checkOverlay trusts /proc/filesystems; a module that is not loaded yet shows up by the first mount, so
// its absence from the list is only final if modprobe's directory has no such module either.
func checkOverlay() error {
	f, err := os.Open("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("running containers needs /proc: mount it: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasSuffix(s.Text(), "\toverlay") {
			return nil
		}
	}
	if moduleExists("overlay") {
		return nil
	}
	return errors.New("this kernel has no overlayfs: load its module (modprobe overlay) or build it in")
}

func moduleExists(name string) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	b, err := os.ReadFile("/lib/modules/" + unix.ByteSliceToString(u.Release[:]) + "/modules.dep")
	return err == nil && strings.Contains(string(b), "/"+name+".ko")
}

// checkStateFS refuses an overlay as the place of writable layers, which the kernel would refuse too, later
// and with only "invalid argument".
func checkStateFS(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("looking at the state directory: %w", err)
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("the state directory %s is itself on an overlay, which cannot hold containers: put it on a disk or a tmpfs", dir)
	}
	return nil
}

func checkCgroups() error {
	need := []string{"cpu", "memory", "pids"}
	have, err := cgroups.GetAllSubsystems()
	if err != nil {
		return fmt.Errorf("reading the cgroup controllers of this machine: %w", err)
	}
	var missing []string
	for _, n := range need {
		if !contains(have, n) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine has no cgroup controller for %s: mount cgroup2 on /sys/fs/cgroup, or boot with cgroup_enable=memory",
			strings.Join(missing, ", "))
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
