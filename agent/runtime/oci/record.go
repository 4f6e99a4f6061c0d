package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// process names a process for ever: a pid may be used again, with another start time.
type process struct {
	PID       int
	StartTime uint64 // clock ticks after boot; 0: not known yet
}

// podRecord is pod.json. It is written with PID 0 before the pause starts, and again after.
type podRecord struct {
	Spec    runtime.SandboxSpec
	Pause   process
	Created time.Time
	BootID  string
	// UserBase is the first id on the node of the pod's user namespace; 0 if it has none of its own.
	UserBase uint32 `json:",omitempty"`
}

// containerRecord is container.json. It is written with PID 0 before the container is made, with its process
// before that may run the image's program, and with its end before it is reaped.
type containerRecord struct {
	Spec        runtime.ContainerSpec
	Init        process
	BootID      string
	CapMask     uint64
	CgroupPaths map[string]string
	Started     time.Time
	UserBase    uint32      `json:",omitempty"` // its pod's
	Rootfs      string      `json:",omitempty"` // where the root file system is mounted; "" is rootfs in its directory
	Filtered    bool        `json:",omitempty"` // its seccomp filter is in its directory
	Exit        *exitRecord `json:",omitempty"`
	Delivered   bool        // the end was taken from Exits
}

type exitRecord struct {
	Code      int
	Finished  time.Time
	OOMKilled bool
}

// writeJSON replaces a file as a whole. It does not sync: after a crash of the machine nothing of this
// state is true any more, and a torn file is treated as stale.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading state: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func (e *Executor) savePod(r *podRecord) error {
	return writeJSON(filepath.Join(e.podDir(r.Spec.PodUID), "pod.json"), r)
}

// saveContainer leaves out the environment: see environment.go.
func (e *Executor) saveContainer(r *containerRecord) error {
	kept := *r
	kept.Spec.Env = nil
	return writeJSON(filepath.Join(e.containerDir(r.Spec.ID), "container.json"), &kept)
}

// state is the record in the words of the interface.
func (r *containerRecord) state() runtime.Container {
	c := runtime.Container{
		ID: r.Spec.ID, PodUID: r.Spec.PodUID, Name: r.Spec.Name, Attempt: r.Spec.Attempt,
		Started: r.Started,
	}
	if r.Exit == nil {
		c.Running, c.PID = true, r.Init.PID
		return c
	}
	c.Finished, c.ExitCode, c.OOMKilled = r.Exit.Finished, r.Exit.Code, r.Exit.OOMKilled
	if c.ExitCode > 128 && c.ExitCode <= 128+64 {
		c.Signal = c.ExitCode - 128
	}
	return c
}

// lastChange is the best known moment of an end nobody saw: when the state was last written.
func lastChange(dir string) time.Time {
	st, err := os.Stat(filepath.Join(dir, "container.json"))
	if err != nil {
		return time.Now().UTC()
	}
	return st.ModTime().UTC()
}
