package supervisor

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Run runs the command to its end and returns its exit code, 128+n after signal n, and the first outputBytes bytes (at most
// OutputBytesMax) of what it wrote to either output. The command reads nothing; its output's user on the node is owner. It
// costs one message each way, where Exec takes pipes that somebody must read. A cancelled context kills the command; what it
// has left behind is then not waited for.
func (c *Client) Run(ctx context.Context, k Command, owner uint32, outputBytes int) (int, []byte, error) {
	m := newMessage("RUN").num(min(outputBytes, OutputBytesMax)).num(int(owner))
	conn, err := c.begin(k.message(m))
	if err != nil {
		return -1, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	end, err := awaitRun(ctx, conn)
	var refused *Error
	// A connection is good for the next request only if nothing more can come on it, and no cancellation touches it.
	if stop() && (end.ended || errors.As(err, &refused)) {
		c.put(conn)
	} else {
		conn.Close()
	}
	return end.code, end.output, err
}

// awaitRun reads answers until the command has ended, which cancelling hastens.
func awaitRun(ctx context.Context, conn *net.UnixConn) (runAnswer, error) {
	none := runAnswer{code: -1}
	buf := runBuffers.Get().(*[]byte)
	defer runBuffers.Put(buf)
	var failed error
	for cancelled := false; ; {
		n, err := conn.Read(*buf)
		if err != nil && ctx.Err() != nil && !cancelled {
			cancelled = true
			err = cancelRun(conn)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return none, errors.Join(ctx.Err(), (&session{}).lost(err))
		}
		a, err := parseRun((*buf)[:n])
		switch {
		case err != nil:
			return none, err
		case !a.ended:
			failed = a.failed
		case failed != nil:
			return a, failed
		case cancelled:
			return a, ctx.Err()
		default:
			return a, nil
		}
	}
}

// cancelRun asks for the command's end, which comes within the time of a request.
func cancelRun(conn *net.UnixConn) error {
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	return send(conn, newMessage("CANCEL"))
}

// runBuffers are as long as the longest answer to RUN.
var runBuffers = sync.Pool{New: func() any {
	b := make([]byte, OutputBytesMax+4096)
	return &b
}}

// runAnswer is an answer to RUN: why the command could not start, or its end.
type runAnswer struct {
	failed *StartError
	ended  bool
	code   int
	output []byte
}

// parseRun reads RAN code output, in which the output is the rest of the message, or FAILED errno step. A refusal becomes an *Error.
func parseRun(b []byte) (runAnswer, error) {
	verb, rest, err := cutField(b)
	if err != nil {
		return runAnswer{}, err
	}
	if string(verb) == "RAN" {
		field, output, err := cutField(rest)
		if err != nil {
			return runAnswer{}, err
		}
		code, err := strconv.Atoi(string(field))
		if err != nil {
			return runAnswer{}, errShape
		}
		return runAnswer{ended: true, code: code, output: bytes.Clone(output)}, nil
	}
	fields, err := parseFields(b)
	if err != nil {
		return runAnswer{}, err
	}
	if fields[0] == "ERR" {
		return runAnswer{}, refusal(fields)
	}
	n, err := numbers(fields[:min(2, len(fields))], 1)
	if err != nil || fields[0] != "FAILED" || len(fields) != 3 {
		return runAnswer{}, errShape
	}
	return runAnswer{failed: &StartError{Step: fields[2], Errno: syscall.Errno(n[0])}}, nil
}
