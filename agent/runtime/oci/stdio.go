package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// containerIO is a container's standard streams while it is being started: the ends that it gets, and what
// is handed to the supervisor.
type containerIO struct {
	e       *Executor
	c       *container
	stdin   *os.File
	outputs []*os.File // its stdout and stderr
	console *os.File   // our end of the socket on which the terminal's master arrives
	child   *os.File   // and the container's
}

func (e *Executor) openIO(c *container) (*containerIO, error) {
	io := &containerIO{e: e, c: c}
	open := io.openPipes
	if c.record.Spec.TTY {
		open = io.openConsole
	}
	if err := open(); err != nil {
		io.close()
		return nil, err
	}
	return io, nil
}

func (io *containerIO) openConsole() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a console socket: %w", err)
	}
	io.console, io.child = os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console-child")
	return nil
}

func (io *containerIO) openPipes() error {
	dir := io.e.containerDir(io.c.id)
	for _, s := range streams {
		w, r, err := openStream(dir, s)
		if err != nil {
			return err
		}
		io.outputs = append(io.outputs, w)
		if r := &io.c.record; r.UserBase != 0 {
			// The container cannot take it from a user who does not exist in there.
			if err := w.Chown(int(r.UserBase+r.Spec.UID), int(r.UserBase+r.Spec.GID)); err != nil {
				return fmt.Errorf("giving the container its output: %w", err)
			}
		}
		io.c.readers = append(io.c.readers, r)
	}
	return io.openStdin(dir)
}

// openStdin is /dev/null, or a pipe whose write end the supervisor holds.
func (io *containerIO) openStdin(dir string) (err error) {
	if !io.c.record.Spec.Stdin {
		io.stdin, err = openFile(os.DevNull, unix.O_RDONLY)
		return err
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("making a stdin pipe: %w", err)
	}
	io.stdin = os.NewFile(uintptr(fds[0]), "stdin")
	io.c.held = append(io.c.held, os.NewFile(uintptr(fds[1]), filepath.Join(dir, "stdin")))
	return nil
}

func (io *containerIO) close() {
	closeFiles(io.outputs)
	for _, f := range []*os.File{io.stdin, io.console, io.child} {
		if f != nil {
			f.Close()
		}
	}
}

// logLevel is libcontainer's for warnings, and behind it, for internal/early/container, the small program to change over to.
func (e *Executor) logLevel() string {
	if e.init == nil {
		return "3"
	}
	return fmt.Sprintf("3@/proc/%d/fd/%d", os.Getpid(), e.init.Fd())
}

func (io *containerIO) process(spec runtime.ContainerSpec) *libcontainer.Process {
	p := &libcontainer.Process{
		Init: true, Args: spec.Args, Env: spec.Env, Cwd: spec.Cwd, UID: int(spec.UID), GID: int(spec.GID),
		LogLevel: io.e.logLevel(),
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	for _, g := range spec.AdditionalGIDs {
		p.AdditionalGroups = append(p.AdditionalGroups, int(g))
	}
	if spec.TTY {
		p.ConsoleSocket = io.child
		return p
	}
	p.Stdin, p.Stdout, p.Stderr = io.stdin, io.outputs[0], io.outputs[1]
	return p
}

// handOver gives the supervisor what must outlive the agent.
func (io *containerIO) handOver() error {
	spec := io.c.record.Spec
	// Only now: what libcontainer says into the pipes of a start that fails belongs to no log.
	for i, r := range io.c.readers {
		if err := io.e.visor.log(spec.ID, streams[i].kind, spec.LogPath, r); err != nil {
			return err
		}
	}
	if spec.TTY {
		// Our copy of the child's end would keep the socket open if the container never sent.
		io.child.Close()
		master, err := receiveMaster(io.console)
		if err != nil {
			return err
		}
		io.c.held = []*os.File{master}
		if err := io.e.visor.log(spec.ID, supervisor.Terminal, spec.LogPath, master); err != nil {
			return err
		}
	}
	if len(io.c.held) == 0 {
		return nil
	}
	return io.e.visor.do(func(v *supervisor.Client) error { return v.Hold(spec.ID, io.c.held...) })
}

func receiveMaster(socket *os.File) (*os.File, error) {
	buf := make([]byte, 4096) // the terminal's name comes along
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receiving the container's terminal: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("the container sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("the container sent no terminal")
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// Stdin is where a running container reads from: a terminal's master, also to be resized, or a pipe's write
// end. It is there for containers with TTY or Stdin. The caller closes it. Output is in the log.
func (e *Executor) Stdin(_ context.Context, id string) (*os.File, error) {
	if _, err := e.findContainer(id); err != nil {
		return nil, err
	}
	var files []*os.File
	err := e.visor.do(func(v *supervisor.Client) (err error) {
		files, err = v.Attach(id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attaching to container %s: %w", id, err)
	}
	closeFiles(files[1:])
	return files[0], nil
}

// CloseStdin lets the container read the end of its input.
func (e *Executor) CloseStdin(_ context.Context, id string) error {
	c, err := e.findContainer(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	closeFiles(c.held)
	c.held = nil
	c.mu.Unlock()
	return e.visor.do(func(v *supervisor.Client) error { return v.Drop(id) })
}
