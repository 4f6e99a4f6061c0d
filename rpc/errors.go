package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/hashicorp/yamux"
)

// Code classes errors that cross the wire.
type Code uint8

// Codes. A caller may try again elsewhere or later after CodeUnavailable and CodeNotLeader only.
const (
	CodeInternal Code = iota + 1
	CodeInvalid
	CodeNotFound
	CodeDenied
	CodeUnavailable
	CodeNotLeader
	CodeTimeout
	CodeTooLarge
)

var codeNames = map[Code]string{
	CodeInternal: "internal", CodeInvalid: "invalid", CodeNotFound: "not found", CodeDenied: "denied",
	CodeUnavailable: "unavailable", CodeNotLeader: "not leader", CodeTimeout: "timeout", CodeTooLarge: "too large",
}

// String is the code's name.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Error is what a handler said: a sentence for a person and a code for the program.
type Error struct {
	Code    Code
	Message string
}

// Error is the sentence.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error; handlers return it to choose the code that the caller sees.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of an error that came from the other side or says that it could not be reached; 0 for others.
func CodeOf(err error) Code {
	var remote *Error
	switch {
	case errors.As(err, &remote):
		return remote.Code
	case errors.Is(err, ErrLost):
		return CodeUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	}
	return 0
}

// Sentinels of this side.
var (
	// ErrLost says that the connection ended under a call or stream: nobody knows what the other side did.
	ErrLost = errors.New("the connection was lost")
	// ErrClosed says that this side closed the stream or connection.
	ErrClosed = errors.New("the stream is closed")
	// ErrTooLarge says that a message is longer than MaxMessageBytes.
	ErrTooLarge = fmt.Errorf("the message is longer than %d bytes", MaxMessageBytes)
)

// toWire turns any handler's error into one that may travel.
func toWire(err error) *Error {
	var remote *Error
	switch {
	case errors.As(err, &remote):
		return &Error{Code: remote.Code, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Message: err.Error()}
	case errors.Is(err, ErrTooLarge):
		return &Error{Code: CodeTooLarge, Message: err.Error()}
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// lost makes one error of the many by which a connection's end shows itself.
func lost(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrLost), errors.Is(err, ErrClosed):
		return err
	case errors.Is(err, yamux.ErrStreamClosed), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, yamux.ErrTimeout):
		return ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrLost
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
