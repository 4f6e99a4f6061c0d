package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Client talks to the supervisor of one directory. It is safe for concurrent use; each request in
// flight has a connection of its own. It dials anew by itself after the supervisor was replaced.
type Client struct {
	dir string

	mu     sync.Mutex
	idle   []*net.UnixConn
	closed bool
}

// Dial finds the living supervisor of dir.
func Dial(dir string) (*Client, error) {
	c := &Client{dir: dir}
	if _, err := c.Hello(); err != nil {
		return nil, err
	}
	return c, nil
}

// Dir is the supervisor's directory.
func (c *Client) Dir() string { return c.dir }

// Close closes the idle connections. Requests in flight end by themselves.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
	return nil
}

func dialSocket(dir string) (*net.UnixConn, error) {
	addr := &net.UnixAddr{Name: filepath.Join(dir, "sock"), Net: "unixpacket"}
	conn, err := net.DialUnix("unixpacket", nil, addr)
	if err != nil {
		return nil, fmt.Errorf("dialling the supervisor in %s: %w", dir, err)
	}
	return conn, nil
}

// get takes an idle connection, or dials. reused says that it may be a dead supervisor's.
func (c *Client) get() (conn *net.UnixConn, reused bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn = c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, true, nil
	}
	c.mu.Unlock()
	conn, err = dialSocket(c.dir)
	return conn, false, err
}

func (c *Client) put(conn *net.UnixConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= idleConnsMax {
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// do is a request with one answer. A connection that turns out to be dead is replaced once. The
// retry is safe because the broken connection belonged to a process that has ended.
func (c *Client) do(m *message, fds ...int) ([]string, []*os.File, error) {
	for {
		conn, reused, err := c.get()
		if err != nil {
			return nil, nil, err
		}
		fields, files, err := call(conn, m, fds...)
		var refused *Error
		if err == nil || errors.As(err, &refused) {
			c.put(conn)
			return fields, files, err
		}
		conn.Close()
		if !reused {
			return nil, nil, fmt.Errorf("asking the supervisor: %w", err)
		}
	}
}

func (c *Client) simple(m *message, fds ...int) error {
	_, files, err := c.do(m, fds...)
	closeAll(files)
	return err
}

// Hello is what a supervisor says about itself.
type Hello struct {
	Version, PID, AgentPID int
}

// Hello asks who is there.
func (c *Client) Hello() (Hello, error) {
	f, files, err := c.do(newMessage("HELLO"))
	closeAll(files)
	if err != nil {
		return Hello{}, err
	}
	n, err := numbers(f, 3)
	if err != nil {
		return Hello{}, err
	}
	return Hello{Version: n[0], PID: n[1], AgentPID: n[2]}, nil
}

// Status counts what the supervisor looks after. DroppedLogBytes could not be written (a full disk).
type Status struct {
	Pumps, Holds, Commands, Connections, DroppedLogBytes int
}

// Status asks for the counts.
func (c *Client) Status() (Status, error) {
	f, files, err := c.do(newMessage("STATUS"))
	closeAll(files)
	if err != nil {
		return Status{}, err
	}
	n, err := numbers(f, 5)
	if err != nil {
		return Status{}, err
	}
	return Status{n[0], n[1], n[2], n[3], n[4]}, nil
}

func numbers(fields []string, want int) ([]int, error) {
	if len(fields) != want+1 {
		return nil, errShape
	}
	out := make([]int, want)
	for i := range out {
		n, err := strconv.Atoi(fields[i+1])
		if err != nil {
			return nil, errShape
		}
		out[i] = n
	}
	return out, nil
}

// Stream says what a log pump reads.
type Stream byte

// The streams: a FIFO of either kind, or the master of a terminal, which carries both.
const (
	Stdout   Stream = 'o'
	Stderr   Stream = 'e'
	Terminal Stream = 't'
)

// Log hands over the read end of a stream; its lines go to path in the CRI format until all writers
// are gone (a Terminal: until CloseLogs). The caller may close its copy.
func (c *Client) Log(id string, s Stream, path string, from *os.File) error {
	return c.simple(newMessage("LOG").str(id).str(string(rune(s))).str(path), int(from.Fd()))
}

// Flush writes what the streams of id hold now, an unfinished line too. After a container's end its log is complete when
// Flush returns, whoever else still has the streams open.
func (c *Client) Flush(id string) error { return c.simple(newMessage("FLUSH").str(id)) }

// Pumps counts the streams of id that are being pumped.
func (c *Client) Pumps(id string) (int, error) {
	f, files, err := c.do(newMessage("PUMPS").str(id))
	closeAll(files)
	if err != nil {
		return 0, err
	}
	n, err := numbers(f, 1)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// Reopen opens the log files of id again by name, after the caller has renamed them.
func (c *Client) Reopen(id string) error { return c.simple(newMessage("REOPEN").str(id)) }

// CloseLogs flushes and ends the pumps of id.
func (c *Client) CloseLogs(id string) error { return c.simple(newMessage("CLOSE").str(id)) }

// Hold keeps descriptors open under id while agents come and go. It replaces what id held. Of a file opened with O_PATH the
// supervisor is a reader from then on.
func (c *Client) Hold(id string, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	return c.simple(newMessage("HOLD").str(id), fds...)
}

// Attach returns copies of what id holds.
func (c *Client) Attach(id string) ([]*os.File, error) {
	_, files, err := c.do(newMessage("ATTACH").str(id))
	return files, err
}

// Drop closes what id holds.
func (c *Client) Drop(id string) error { return c.simple(newMessage("DROP").str(id)) }

// Sync makes the supervisor reap now: every child that had ended before is in the journal afterwards.
func (c *Client) Sync() error { return c.simple(newMessage("SYNC")) }

// Ready says that this agent serves: from now on its failure is a crash, after which it is started again.
func (c *Client) Ready() error { return c.simple(newMessage("READY")) }

// Kill signals a command started by Exec.
func (c *Client) Kill(pid int, sig syscall.Signal) error {
	return c.simple(newMessage("KILL").num(pid).num(int(sig)))
}

// SignalAgent signals the agent. After TERM or INT it is not started again.
func (c *Client) SignalAgent(sig syscall.Signal) error {
	return c.simple(newMessage("SIGNAL").num(int(sig)))
}

// Stop ends the supervisor: at once if no agent runs, else when the agent has ended (which it is
// not asked to). The caller has seen to it that no pod is left.
func (c *Client) Stop() error { return c.simple(newMessage("STOP")) }

// Upgrade makes the supervisor continue as the program at path, with the same pid, children and state.
// It returns when the successor answers.
func (c *Client) Upgrade(ctx context.Context, path string) error {
	if err := c.simple(newMessage("UPGRADE").str(path)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The answer comes from the successor: the socket and its queue are the same.
	_, err := c.Hello()
	return err
}
