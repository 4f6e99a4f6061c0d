package supervisor

import (
	"fmt"
	"os"
	"syscall"
)

// launcherName is the argv[0] of a process that only launches and waits. It is dispatched in this
// package's init, before anything heavier initialises, so that waiting costs a few megabytes and not
// what the whole command line costs.
const launcherName = "peapod-launcher"

func init() {
	if len(os.Args) > 2 && os.Args[0] == launcherName {
		os.Exit(launcherMain(os.Args[1], os.Args[2:]))
	}
}

// Become replaces this process by one that does Launch(dir, argv, env), and then ends a supervisor that
// holds nothing. It returns only if it failed.
func Become(dir string, argv, env []string) error {
	if err := syscall.Exec("/proc/self/exe", append([]string{launcherName, dir}, argv...), env); err != nil {
		return fmt.Errorf("starting the launcher: %w", err)
	}
	return nil
}

func launcherMain(dir string, argv []string) int {
	code, err := Launch(dir, argv, os.Environ())
	StopIdle(dir, false)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return code
}

// StopIdle ends dir's supervisor if it holds nothing, or in any case.
func StopIdle(dir string, inAnyCase bool) {
	c, err := Dial(dir)
	if err != nil {
		return // it has gone already
	}
	defer c.Close()
	if s, err := c.Status(); inAnyCase || err == nil && s.Pumps == 0 && s.Holds == 0 {
		_ = c.Stop() // if it does not hear, it stays, which does no harm
	}
}
