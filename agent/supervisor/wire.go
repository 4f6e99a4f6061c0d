package supervisor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Error is a refusal by the supervisor: what it was doing, and the system's reason.
type Error struct {
	What  string
	Errno syscall.Errno
}

func (e *Error) Error() string { return "supervisor: " + e.What + ": " + e.Errno.Error() }

// Unwrap lets errors.Is find the errno.
func (e *Error) Unwrap() error { return e.Errno }

var errShape = errors.New("supervisor: an answer that is not well formed")

// message builds the fields of a request: for each a length (32 bits, little endian), its bytes and a NUL.
type message struct {
	body   []byte
	fields int
	err    error
}

func newMessage(verb string) *message { return new(message).str(verb) }

func (m *message) str(s string) *message {
	if strings.IndexByte(s, 0) >= 0 && m.err == nil {
		m.err = fmt.Errorf("%q holds a NUL byte, which no argument of a program can", s)
	}
	m.fields++
	m.body = binary.LittleEndian.AppendUint32(m.body, uint32(len(s)))
	m.body = append(append(m.body, s...), 0)
	return m
}

func (m *message) num(n int) *message { return m.str(strconv.Itoa(n)) }

func (m *message) flag(b bool) *message {
	if b {
		return m.num(1)
	}
	return m.num(0)
}

func (m *message) list(l []string) *message {
	m.num(len(l))
	for _, s := range l {
		m.str(s)
	}
	return m
}

func (m *message) check() error {
	if m.err != nil {
		return m.err
	}
	if len(m.body) > bodyBytesMax || m.fields > argsMax {
		return fmt.Errorf("a request of %d bytes and %d fields is too long: at most %d bytes and %d fields",
			len(m.body), m.fields, bodyBytesMax, argsMax)
	}
	return nil
}

// parseFields is the inverse of message.
func parseFields(b []byte) ([]string, error) {
	var out []string
	for len(b) > 0 {
		field, rest, err := cutField(b)
		if err != nil {
			return nil, err
		}
		out, b = append(out, string(field)), rest
	}
	if len(out) == 0 {
		return nil, errShape
	}
	return out, nil
}

func cutField(b []byte) (field, rest []byte, err error) {
	if len(b) < 5 {
		return nil, nil, errShape
	}
	n := int(binary.LittleEndian.Uint32(b))
	b = b[4:]
	if n >= len(b) || b[n] != 0 || bytes.IndexByte(b[:n], 0) >= 0 {
		return nil, nil, errShape
	}
	return b[:n], b[n+1:], nil
}

// send writes a request with its descriptors.
func send(c *net.UnixConn, m *message, fds ...int) error {
	if err := m.check(); err != nil {
		return err
	}
	body := m.body
	if len(body) > packetBytesMax {
		mem, err := bodyFile(body)
		if err != nil {
			return err
		}
		defer mem.Close()
		fds = append(append([]int(nil), fds...), int(mem.Fd()))
		body = newMessage("BODY").body
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix(body, rights, nil)
	return err
}

func bodyFile(body []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("supervisor-request", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "request")
	if _, err := f.Write(body); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing a memfd: %w", err)
	}
	return f, nil
}

// receive reads one answer. An ERR answer becomes an *Error.
func receive(c *net.UnixConn) ([]string, []*os.File, error) {
	buf := make([]byte, 8192)
	oob := make([]byte, unix.CmsgSpace(fdsMax*4))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, nil, err
	}
	files, err := takeFiles(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, net.ErrClosed
	}
	fields, err := parseFields(buf[:n])
	if err == nil && fields[0] == "ERR" {
		err = refusal(fields)
	}
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return fields, files, nil
}

func refusal(fields []string) error {
	if len(fields) != 3 {
		return errShape
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		return errShape
	}
	return &Error{What: fields[2], Errno: syscall.Errno(n)}
}

func takeFiles(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "held"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// call is one request and its answer.
func call(c *net.UnixConn, m *message, fds ...int) ([]string, []*os.File, error) {
	if err := c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return nil, nil, err
	}
	if err := send(c, m, fds...); err != nil {
		return nil, nil, err
	}
	return receive(c)
}
