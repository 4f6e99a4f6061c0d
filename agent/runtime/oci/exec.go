package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// Exec implements runtime.Executor. The supervisor runs the command; this end only copies the streams.
func (e *Executor) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (int, error) {
	c, err := e.findContainer(id)
	if err != nil {
		return -1, err
	}
	if len(spec.Args) == 0 {
		return -1, errors.New("exec without a command")
	}
	c.mu.Lock()
	r, running := c.record, c.record.Exit == nil
	c.mu.Unlock()
	if !running {
		return -1, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	if short(spec) {
		code, err := e.execShort(ctx, c, r, spec)
		if err != nil {
			return code, fmt.Errorf("exec in container %s: %w", id, err)
		}
		return code, nil
	}
	s := &execIO{spec: spec}
	defer s.closeAll()
	if err := s.open(r.Init.PID, int(r.UserBase+r.Spec.UID)); err != nil {
		return -1, fmt.Errorf("preparing an exec in container %s: %w", id, err)
	}
	k := e.command(r, c.execEnv(), spec)
	k.Stdin, k.Out, k.Err = s.child[0], s.child[1], s.child[2]
	code, err := e.exec(ctx, k, s)
	if err != nil {
		return code, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return code, nil
}

// short tells whether a command needs no streams: nothing to read, and one output that may come when it has ended.
func short(s runtime.ExecSpec) bool {
	return s.Buffered && !s.TTY && s.Stdin == nil && s.StdinFile == nil && s.StdoutFile == nil && s.StderrFile == nil &&
		sameWriter(s.Stdout, s.Stderr)
}

// execShort is what probes use: the supervisor keeps the output, and one answer has it all.
func (e *Executor) execShort(ctx context.Context, c *container, r containerRecord, spec runtime.ExecSpec) (int, error) {
	k := e.command(r, c.execEnv(), spec)
	var code int
	var output []byte
	err := e.visor.do(func(v *supervisor.Client) (err error) {
		code, output, err = v.Run(ctx, k, r.UserBase+r.Spec.UID, runtime.BufferedBytes)
		return err
	})
	if len(output) > 0 {
		_, _ = spec.Stdout.Write(output) // as with copied streams, who does not want it does not get it
	}
	return code, err
}

func (e *Executor) command(r containerRecord, env []string, spec runtime.ExecSpec) supervisor.Command {
	into, tasks := execCgroups(r.CgroupPaths)
	return supervisor.Command{
		Target: r.Init.PID, OwnUsers: r.UserBase != 0, UID: r.Spec.UID, GID: r.Spec.GID, Groups: r.Spec.AdditionalGIDs,
		Capabilities: r.CapMask, NoNewPrivs: r.Spec.NoNewPrivileges, OOMScoreAdj: r.Spec.Resources.OOMScoreAdj,
		Rlimits: execRlimits(), SeccompFile: e.filterFile(&r), AppArmor: r.Spec.AppArmor,
		TTY: spec.TTY, Cwd: r.Spec.Cwd, CgroupV2: into, CgroupTasks: tasks,
		Args: spec.Args, Env: env,
	}
}

// execEnv is the environment of commands: the container's, with the home directory that libcontainer has found in the image
// for the container's user, unless the spec has one. The container's first process shows it; it is looked at once.
func (c *container) execEnv() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.commandEnv == nil {
		c.commandEnv = withHome(c.record.Spec.Env, c.record.Init.PID)
	}
	return c.commandEnv
}

func withHome(env []string, pid int) []string {
	out := append(make([]string, 0, len(env)+1), env...)
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		return out
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return out
	}
	for v := range strings.SplitSeq(string(b), "\x00") {
		if strings.HasPrefix(v, "HOME=/") {
			return append(out, v)
		}
	}
	return out
}

func (e *Executor) exec(ctx context.Context, k supervisor.Command, s *execIO) (int, error) {
	s.copy()
	code := -1
	err := e.visor.do(func(v *supervisor.Client) (err error) {
		code, err = v.Exec(ctx, k)
		return err
	})
	// A process that the command left behind may keep an output open: the caller's patience ends that too.
	stop := context.AfterFunc(ctx, func() { closeFiles(s.outputs) })
	defer stop()
	s.finish()
	return code, err
}

// execIO joins the caller's streams with the command's descriptors.
type execIO struct {
	spec     runtime.ExecSpec
	child    [3]*os.File // what the command gets; nil is /dev/null
	own      []*os.File  // those of child that we made
	in       *os.File    // our end of its stdin
	master   *os.File
	outputs  []*os.File // our ends of what it writes
	sinks    []io.Writer
	copies   sync.WaitGroup // of outputs
	stopSize chan struct{}
}

// open makes the streams for a command that runs as uid, as the node counts.
func (s *execIO) open(pid, uid int) error {
	if s.spec.TTY {
		return s.openTTY(pid, uid)
	}
	if err := s.openPipes(); err != nil {
		return err
	}
	for _, f := range s.own { // else the command could not open its /dev/stderr
		if err := f.Chown(uid, -1); err != nil {
			return fmt.Errorf("giving a pipe to the command's user: %w", err)
		}
	}
	return nil
}

func (s *execIO) openPipes() error {
	s.child = [3]*os.File{s.spec.StdinFile, s.spec.StdoutFile, s.spec.StderrFile}
	if s.spec.Stdin != nil && s.child[0] == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.child[0], s.in = r, w
		s.own = append(s.own, r)
	}
	for i, sink := range []io.Writer{1: s.spec.Stdout, 2: s.spec.Stderr} {
		if sink == nil || s.child[i] != nil {
			continue
		}
		if i == 2 && s.child[1] != nil && sameWriter(sink, s.spec.Stdout) {
			s.child[2] = s.child[1] // as with 2>&1: one pipe, and the order of what is written stays
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.child[i] = w
		s.own = append(s.own, w)
		s.outputs, s.sinks = append(s.outputs, r), append(s.sinks, sink)
	}
	return nil
}

// sameWriter compares what can be compared.
func sameWriter(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && a == b
}

func (s *execIO) openTTY(pid, uid int) error {
	master, slave, err := openTerminal(pid, uid)
	if err != nil {
		return err
	}
	s.master = master
	s.child = [3]*os.File{slave, slave, slave}
	s.own = append(s.own, slave)
	s.in = master
	sink := s.spec.Stdout
	if sink == nil {
		sink = io.Discard
	}
	s.outputs, s.sinks = append(s.outputs, master), append(s.sinks, sink)
	return nil
}

// copy starts the copying. The reader of stdin is not waited for: it may block in the caller's Read for ever,
// and writes only to a pipe that closes.
func (s *execIO) copy() {
	for i, out := range s.outputs {
		s.copies.Go(func() { _, _ = io.Copy(s.sinks[i], out) })
	}
	if s.in != nil && s.spec.Stdin != nil {
		in, stdin, tty := s.in, s.spec.Stdin, s.spec.TTY
		go func() {
			_, _ = io.Copy(in, stdin)
			if !tty {
				in.Close()
			}
		}()
	}
	s.stopSize = make(chan struct{})
	if s.master != nil && s.spec.Resize != nil {
		s.copies.Go(s.resize)
	}
}

func (s *execIO) resize() {
	for {
		select {
		case size, ok := <-s.spec.Resize:
			if !ok {
				return
			}
			_ = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
		case <-s.stopSize:
			return
		}
	}
}

// finish lets the outputs run dry after the command's end. Our copies of its ends go first, else they
// would never end.
func (s *execIO) finish() {
	closeFiles(s.own)
	s.own = nil
	close(s.stopSize)
	s.copies.Wait()
}

func (s *execIO) closeAll() {
	closeFiles(s.own)
	closeFiles(s.outputs)
	if s.in != nil {
		s.in.Close()
	}
}
