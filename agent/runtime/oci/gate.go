package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

// The gate is libcontainer's exec.fifo: an init that is ready opens it for writing, which waits for a reader, writes a byte and
// becomes the image's program. libcontainer's own Exec waits for a writer for ever, so it cannot be asked again about
// an init that an earlier agent may have let through without having lived to remove the file.
const gateName = "exec.fifo"

// openGate lets the container's init through, and returns when it has gone through or has ended. On an open gate it does nothing.
func (e *Executor) openGate(c *container) error {
	path := filepath.Join(e.runcRoot(), c.id, gateName)
	name, err := openFile(path, unix.O_PATH)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the gate of a container: %w", err)
	}
	defer name.Close()
	// The init's write fails if its reader dies between its opening and its writing, so the first reader is the supervisor.
	if err := e.visor.do(func(v *supervisor.Client) error { return v.Hold(gateHold(c.id), name) }); err != nil {
		return fmt.Errorf("holding the gate of a container open: %w", err)
	}
	f, err := openFile(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("opening the gate of a container: %w", err)
	}
	defer f.Close()
	for {
		through, err := passes(f)
		if err != nil {
			return err
		}
		if through || !holds(c.record.Init.PID, f) {
			break
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the gate of a container: %w", err)
	}
	return e.dropGate(c)
}

// gateHold is the name under which the supervisor holds a container's gate; no container has it, for its slash.
func gateHold(id string) string { return id + "/gate" }

func (e *Executor) dropGate(c *container) error {
	return e.visor.do(func(v *supervisor.Client) error { return v.Drop(gateHold(c.id)) })
}

// gatePatience is how long one look at the gate waits for the init.
const gatePatience = 10 * time.Millisecond

// passes waits a moment for the init's byte.
func passes(gate *os.File) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(gate.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(gatePatience.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("waiting at the gate of a container: %w", err)
	}
	return n > 0 && fds[0].Revents&unix.POLLIN != 0, nil
}

// holds tells whether a process still has the gate open: every init does until it is through.
func holds(pid int, gate *os.File) bool {
	want, err := gate.Stat()
	if err != nil {
		return false
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if got, err := os.Stat(filepath.Join(dir, fd.Name())); err == nil && os.SameFile(want, got) {
			return true
		}
	}
	return false
}

// programPatience bounds the wait for the image's program. It is long for a machine that is overloaded, and nothing
// depends on it but what awaitProgram promises.
const programPatience = 2 * time.Second

// awaitProgram returns when the container's first process is the image's program, or has ended. Until then, behind the
// gate, it is libcontainer's init, on which a signal to the program would be lost.
func awaitProgram(c *container) {
	for end := time.Now().Add(programPatience); time.Now().Before(end) && !readable(c.pidfd) && !isProgram(c.record.Init.PID, len(c.record.Spec.Env) > 0); {
		time.Sleep(initPoll)
	}
}

// initPoll is the pause between two looks at a process that becomes a program within a millisecond.
const initPoll = 100 * time.Microsecond

// isProgram tells a program from libcontainer's init by what that gets in its environment. In the middle of execve a
// process has none at all.
func isProgram(pid int, hasEnv bool) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	return err == nil && (len(b) > 0 || !hasEnv) && !bytes.Contains(b, []byte("_LIBCONTAINER_INITPIPE="))
}
