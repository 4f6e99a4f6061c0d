package supervisor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Command is a program to run in a container that lives.
type Command struct {
	// Target is the pid of the container's init; PIDFD is not needed because the caller has checked
	// that it lives, and its end makes the namespaces go.
	Target          int
	OwnUsers        bool // the container has a user namespace of its own; the numbers below are those within it
	UID, GID        uint32
	Groups          []uint32
	Capabilities    uint64 // bit n: CAP n is kept
	NoNewPrivs      bool
	OOMScoreAdj     int
	Rlimits         []Rlimit
	SeccompFile     string // absolute, as EncodeFilter writes it; "" is no filter
	AppArmor        string // the name of a loaded profile; "" is none
	TTY             bool   // the first descriptor is a terminal's slave end and becomes the controlling terminal
	Cwd             string // "" is /
	CgroupV2        string // directory, "" for none
	CgroupTasks     []string
	Args, Env       []string
	Stdin, Out, Err *os.File // nil is /dev/null
}

// Rlimit is a limit of setrlimit(2).
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// EncodeFilter says a seccomp filter as the supervisor reads it from Command.SeccompFile: the flags of seccomp(2), the
// number of instructions, then the instructions as the kernel has them.
func EncodeFilter(flags uint32, program []byte) []byte {
	const instructionBytes = 8
	out := binary.NativeEndian.AppendUint32(nil, flags)
	out = binary.NativeEndian.AppendUint32(out, uint32(len(program)/instructionBytes))
	return append(out, program...)
}

// StartError tells that the container could not run the command at all, and at which step.
type StartError struct {
	Step  string
	Errno syscall.Errno
}

func (e *StartError) Error() string { return fmt.Sprintf("running %s: %v", e.Step, e.Errno) }

// Unwrap lets errors.Is find the errno.
func (e *StartError) Unwrap() error { return e.Errno }

// Exec runs the command and returns its exit code, 128+n after signal n. A cancelled context kills it.
func (c *Client) Exec(ctx context.Context, k Command) (int, error) {
	conn, err := c.startCommand(k)
	if err != nil {
		return -1, err
	}
	s := &session{client: c, conn: conn}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	code, err := s.wait(ctx)
	// Only a conversation that came to its end may be used for the next one, and only if the
	// cancellation did not touch its deadline meanwhile.
	if stop() && s.exited {
		c.put(conn)
	} else {
		conn.Close()
	}
	return code, err
}

// startCommand sends EXEC.
func (c *Client) startCommand(k Command) (*net.UnixConn, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fds := make([]int, 3)
	for i, f := range []*os.File{k.Stdin, k.Out, k.Err} {
		if f == nil {
			f = null
		}
		fds[i] = int(f.Fd())
	}
	return c.begin(k.message(newMessage("EXEC")), fds...)
}

// begin sends a request whose answers may take any time. A reused connection of a dead supervisor shows when writing or
// reading; the command cannot have run then unless the supervisor read it, so only a failed write is tried again.
func (c *Client) begin(m *message, fds ...int) (*net.UnixConn, error) {
	for {
		conn, reused, err := c.get()
		if err != nil {
			return nil, err
		}
		if err = conn.SetDeadline(time.Time{}); err == nil {
			err = send(conn, m, fds...)
		}
		if err == nil {
			return conn, nil
		}
		conn.Close()
		if !reused || !errors.Is(err, syscall.EPIPE) {
			return nil, fmt.Errorf("asking the supervisor to run a command: %w", err)
		}
	}
}

// message adds what EXEC and RUN have in common.
func (k Command) message(m *message) *message {
	groups := make([]string, len(k.Groups))
	for i, g := range k.Groups {
		groups[i] = strconv.FormatUint(uint64(g), 10)
	}
	cwd := k.Cwd
	if cwd == "" {
		cwd = "/"
	}
	m.num(k.Target).flag(k.OwnUsers).num(int(k.UID)).num(int(k.GID)).list(groups).
		str(strconv.FormatUint(k.Capabilities, 16)).flag(k.NoNewPrivs).num(k.OOMScoreAdj).num(len(k.Rlimits))
	for _, r := range k.Rlimits {
		m.num(r.Resource).num(int(min(r.Soft, math.MaxInt64))).num(int(min(r.Hard, math.MaxInt64)))
	}
	return m.str(k.SeccompFile).str(k.AppArmor).flag(k.TTY).
		str(cwd).str(k.CgroupV2).list(k.CgroupTasks).list(k.Args).list(k.Env)
}

// session is the rest of the conversation after EXEC: PID, perhaps FAILED (either may come first), EXIT.
type session struct {
	client *Client
	conn   *net.UnixConn
	pid    int
	failed *StartError
	exited bool
}

func (s *session) wait(ctx context.Context) (int, error) {
	killed := false
	for {
		fields, files, err := receive(s.conn)
		closeAll(files)
		var refused *Error
		switch {
		case errors.As(err, &refused):
			s.exited = true
			return -1, err
		case err != nil && ctx.Err() != nil && !killed:
			killed = true
			if err := s.cancel(); err != nil {
				return -1, errors.Join(ctx.Err(), err)
			}
			continue
		case err != nil:
			return -1, s.lost(err)
		}
		code, done, err := s.take(fields)
		if err != nil || done {
			if err == nil && ctx.Err() != nil && killed {
				err = ctx.Err()
			}
			return code, err
		}
	}
}

// lost says what became of the command when the connection broke. A reset before PID means that the supervisor
// died with the request unread, so the caller may try again; later the command may have run.
func (s *session) lost(err error) error {
	if s.pid == 0 && errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("asking for a command: %w", err)
	}
	return fmt.Errorf("waiting for the command %d: %v", s.pid, err)
}

// cancel kills the command and lets wait go on to its EXIT, within the time of a request.
func (s *session) cancel() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	for s.pid == 0 {
		fields, files, err := receive(s.conn)
		closeAll(files)
		if err != nil {
			return err
		}
		if _, _, err := s.take(fields); err != nil {
			return err
		}
	}
	err := s.client.Kill(s.pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (s *session) take(f []string) (code int, done bool, err error) {
	if len(f) < 2 {
		return -1, true, errShape
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return -1, true, errShape
	}
	switch {
	case f[0] == "PID":
		s.pid = n
	case f[0] == "FAILED" && len(f) == 3:
		s.failed = &StartError{Step: f[2], Errno: syscall.Errno(n)}
	case f[0] == "EXIT":
		s.exited = true
		if s.failed != nil {
			return n, true, s.failed
		}
		return n, true, nil
	default:
		return -1, true, errShape
	}
	return 0, false, nil
}
