package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// check is one thing that running pods needs of a machine.
type check struct {
	what string
	test func() error
}

var machineChecks = []check{
	{"root", func() error {
		if os.Geteuid() != 0 {
			return fmt.Errorf("start peapod as root (or with sudo) to run pods")
		}
		return nil
	}},
	{"overlayfs", func() error { return listed("/proc/filesystems", "overlay", "load it with `modprobe overlay`") }},
	{"cgroups", func() error {
		for _, f := range []string{"/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
			if _, err := os.Stat(f); err == nil {
				return nil
			}
		}
		return fmt.Errorf("neither cgroup v2 nor the v1 memory controller is mounted below /sys/fs/cgroup")
	}},
	{"network namespaces", func() error { return present("/proc/self/ns/net", "the kernel needs CONFIG_NET_NS") }},
	{"pid namespaces", func() error { return present("/proc/self/ns/pid", "the kernel needs CONFIG_PID_NS") }},
	{"open files", func() error {
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return err
		}
		if l.Max < openFilesWanted {
			return fmt.Errorf("the limit is %d; raise it to %d or more (ulimit -n, LimitNOFILE=)", l.Max, openFilesWanted)
		}
		return nil
	}},
}

const openFilesWanted = 4096

func listed(file, word, fix string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, f := range strings.Fields(string(b)) {
		if f == word {
			return nil
		}
	}
	return fmt.Errorf("%s is not in %s: %s", word, file, fix)
}

func present(file, fix string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s is missing: %s", file, fix)
	}
	return nil
}

func doctorCommand() *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Check whether this machine can run pods, and say what to mend", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		bad := 0
		for _, k := range machineChecks {
			if err := k.test(); err != nil {
				bad++
				fmt.Fprintf(c.OutOrStdout(), "✗ %-20s %v\n", k.what, err)
			} else {
				fmt.Fprintf(c.OutOrStdout(), "✓ %s\n", k.what)
			}
		}
		if bad > 0 {
			return fmt.Errorf("%d of %d checks failed", bad, len(machineChecks))
		}
		return nil
	}}
}
