package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A container's environment may hold what its pod takes from Secrets, so it is not written with the rest of its record. It lies in memory,
// in a file system that is there while any container is: commands of a later agent need it, and after a boot nobody does.

func (e *Executor) envDir() string { return filepath.Join(e.cfg.StateDir, "env") }

// keepEnv keeps the environment of a new container, or of one that an older version wrote down with its record.
func (e *Executor) keepEnv(id string, env []string) error {
	e.envs.Lock()
	defer e.envs.Unlock()
	dir := e.envDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	inMemory, err := isMemory(dir)
	if err == nil && !inMemory {
		err = mountEnvironments(dir)
	}
	if err != nil {
		return fmt.Errorf("making a place in memory for containers' environments: %w", err)
	}
	return writeJSON(filepath.Join(dir, id), env)
}

// takeEnv gives a record that was read the environment that belongs to it. A boot may have taken that away; only commands miss it.
func (e *Executor) takeEnv(r *containerRecord) error {
	if len(r.Spec.Env) > 0 { // from an older version
		if err := e.keepEnv(r.Spec.ID, r.Spec.Env); err != nil {
			return err
		}
		return e.saveContainer(r)
	}
	err := readJSON(filepath.Join(e.envDir(), r.Spec.ID), &r.Spec.Env)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.log.Warn("commands in a container will lack its environment", "container", r.Spec.ID, "error", err)
	}
	return nil
}

// dropEnv forgets a container's environment, and with the last one the place for them.
func (e *Executor) dropEnv(id string) error {
	e.envs.Lock()
	defer e.envs.Unlock()
	dir := e.envDir()
	for _, name := range []string{id, id + ".new"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	left, err := entries(dir)
	if errors.Is(err, os.ErrNotExist) || len(left) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unmount(dir); err != nil {
		return err
	}
	return os.Remove(dir)
}

func isMemory(dir string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return false, err
	}
	return slices.Contains([]int64{unix.TMPFS_MAGIC, unix.RAMFS_MAGIC}, int64(fs.Type)), nil
}

// mountEnvironments never lets the kernel swap them to disk where it can promise that (Linux 6.4).
func mountEnvironments(dir string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=0700,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=0700")
	}
	return err
}
