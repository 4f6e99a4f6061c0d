package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A node is frozen by the freezer that this machine has: v1's, v2's, or, without either, by SIGSTOP,
// which processes can see and undo but which serves.

// freeze stops every process of the cgroup and returns when all stand still.
func (c cgroup) freeze(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	file, value, ok := c.freezer(true)
	if !ok {
		return c.signalAll(unix.SIGSTOP)
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("freezing cgroup %s: %w", c.path, err)
	}
	for !c.frozen() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("freezing cgroup %s: %w", c.path, ctx.Err())
		case <-time.After(cgroupPoll):
		}
	}
	return nil
}

// thaw lets every process of the cgroup go on.
func (c cgroup) thaw() error {
	file, value, ok := c.freezer(false)
	if !ok {
		return c.signalAll(unix.SIGCONT)
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("thawing cgroup %s: %w", c.path, err)
	}
	return nil
}

// freezer is the file that freezes the cgroup, and what to write into it.
func (c cgroup) freezer(on bool) (file, value string, ok bool) {
	for _, h := range c.trees {
		dir := filepath.Join(h.path, c.path)
		switch {
		case h.freezes() && on:
			return filepath.Join(dir, "freezer.state"), "FROZEN", true
		case h.freezes():
			return filepath.Join(dir, "freezer.state"), "THAWED", true
		}
	}
	for _, h := range c.trees {
		file := filepath.Join(h.path, c.path, "cgroup.freeze")
		if h.v2 && exists(file) {
			if on {
				return file, "1", true
			}
			return file, "0", true
		}
	}
	return "", "", false
}

// frozen tells whether all processes stand still.
func (c cgroup) frozen() bool {
	for _, h := range c.trees {
		dir := filepath.Join(h.path, c.path)
		if h.freezes() {
			b, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
			return err == nil && strings.TrimSpace(string(b)) == "FROZEN"
		}
	}
	for _, h := range c.trees {
		if !h.v2 {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(h.path, c.path, "cgroup.events")); err == nil {
			return strings.Contains(string(b), "frozen 1")
		}
	}
	return c.allStopped()
}

// thawAll thaws the cgroup and everything below it, because on v1 a frozen process cannot die.
func (c cgroup) thawAll() {
	c.walk(func(h hierarchy, dir string) {
		if h.freezes() {
			_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
		}
		if h.v2 {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0)
		}
	})
}

// signalAll repeats until no new process has appeared.
func (c cgroup) signalAll(s unix.Signal) error {
	done := map[int]bool{}
	for {
		fresh := 0
		for _, pid := range c.pids() {
			if !done[pid] {
				done[pid] = true
				fresh++
				_ = unix.Kill(pid, s) // what has gone needs no signal
			}
		}
		if fresh == 0 {
			return nil
		}
	}
}

func (c cgroup) allStopped() bool {
	pids := c.pids()
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil && s.state != 'T' && s.state != 'Z' {
			return false
		}
	}
	return len(pids) > 0
}
