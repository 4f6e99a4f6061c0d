package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Stream is a conversation of msgpack messages in both directions. One goroutine may send while another
// receives. It ends in one of three ways: the other side says that it has said all (Recv: io.EOF), a handler fails
// (Recv: its *Error), or the connection or stream is cut (ErrLost).
type Stream struct {
	raw *yamux.Stream

	sendMu sync.Mutex
	sent   bool          // nothing more may be sent
	queued *bufio.Writer // nil before the first Queue

	recvMu sync.Mutex
	over   error // why nothing more can be received

	// On the side of the handler a pump reads, so that the handler's context ends when the opener goes
	// away even while the handler only writes. inbound is unbuffered: backpressure is the stream's window.
	inbound chan []byte
	pumped  chan struct{} // closed when the pump has returned

	ctx     context.Context // the opener's context, or the handler's
	release func()          // gives back what belongs to the stream; called once
	detach  func() bool     // frees the opener's stream from its context; false if that has ended
	once    sync.Once
	closed  atomic.Bool // by this side: what still arrives is for nobody
}

// Send writes one message. It blocks while the other side's window is full.
func (s *Stream) Send(message any) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sent {
		return ErrClosed
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.failure(writeFrame(s.raw, frameData, MaxMessageBytes, message))
}

// Queue is Send for one of many: the message may wait for those after it, until Flush, and then they cost one write together.
func (s *Stream) Queue(message any) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sent {
		return ErrClosed
	}
	if s.queued == nil {
		s.queued = bufio.NewWriterSize(s.raw, queueBytes)
	}
	return s.failure(writeFrame(s.queued, frameData, MaxMessageBytes, message))
}

// Flush sends what is queued.
func (s *Stream) Flush() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	return s.flush()
}

func (s *Stream) flush() error {
	if s.queued == nil || s.queued.Buffered() == 0 {
		return nil
	}
	return s.failure(s.queued.Flush())
}

// CloseSend says that no more messages follow; the other side's Recv then returns io.EOF. Receiving goes on.
func (s *Stream) CloseSend() error { return s.finish(frameEnd) }

func (s *Stream) finish(kind byte, values ...any) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sent {
		return nil
	}
	s.sent = true
	if err := s.flush(); err != nil {
		return err
	}
	return s.failure(writeFrame(s.raw, kind, MaxMessageBytes, values...))
}

// Recv reads one message into message. io.EOF: the other side has said all.
func (s *Stream) Recv(message any) error {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if s.over != nil {
		return s.over
	}
	payload, err := s.next()
	if s.closed.Load() {
		payload, err = nil, ErrClosed
	} else if err == io.EOF && s.inbound == nil && s.ctx.Err() != nil {
		err = context.Cause(s.ctx) // the handler's end answers ours
	}
	if err != nil {
		s.over = err
		return err
	}
	return decode(payload, message)
}

func (s *Stream) next() ([]byte, error) {
	if s.inbound == nil {
		return s.nextFrame()
	}
	select {
	case payload, open := <-s.inbound:
		if !open {
			return nil, io.EOF
		}
		return payload, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// nextFrame reads from the wire and makes errors of the frames that are ends.
func (s *Stream) nextFrame() ([]byte, error) {
	kind, payload, err := readFrame(s.raw, MaxMessageBytes)
	if err != nil {
		return nil, s.failure(err)
	}
	switch kind {
	case frameData:
		return payload, nil
	case frameEnd:
		return nil, io.EOF
	case frameError:
		return nil, decodeError(payload)
	}
	return nil, Errorf(CodeInvalid, "the other side sent a frame of kind %d, which means nothing here", kind)
}

func decodeError(payload []byte) error {
	var remote Error
	if err := decode(payload, &remote); err != nil {
		return err
	}
	return &remote
}

// failure prefers the reason for which this side gave up to how that showed itself.
func (s *Stream) failure(err error) error {
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return lost(err)
}

// Close ends the stream in both directions. It may be called more than once, and by any goroutine.
func (s *Stream) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		cut(s.raw)
		if s.release != nil {
			s.release()
		}
	})
	return nil
}

// past is a deadline that wakes whoever reads or writes.
var past = time.Unix(1, 0)

// cut closes both directions: yamux' own Close leaves our readers waiting.
func cut(raw *yamux.Stream) {
	_ = raw.SetDeadline(past)
	_ = raw.Close()
}

// pump hands frames to Recv, one at a time, and cancels the handler's context when the opener is gone.
func (s *Stream) pump(cancel context.CancelCauseFunc) {
	defer close(s.pumped)
	for open := true; ; {
		payload, err := s.nextFrame()
		switch {
		case err == io.EOF && open:
			open = false
			close(s.inbound) // the opener has said all, and may still listen
		case err != nil:
			if !errors.Is(err, ErrClosed) { // closed here, or by Raw
				cancel(err)
			}
			return
		case open:
			select {
			case s.inbound <- payload:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// Raw turns a handler's stream into a bare connection: the opener's OpenRaw returns one for the other end. It must be called before
// anything was sent. The handler keeps its context until it returns; returning closes the connection.
func (s *Stream) Raw() (net.Conn, error) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sent || s.inbound == nil {
		return nil, ErrClosed
	}
	_ = s.raw.SetReadDeadline(past) // the opener is silent until it is told, so the pump is between two frames
	select {
	case <-s.pumped:
	case <-s.inbound:
		return nil, Errorf(CodeInvalid, "the method gives a bare connection, but messages were sent to it")
	}
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	_ = s.raw.SetReadDeadline(time.Time{})
	s.sent = true
	if err := writeFrame(s.raw, frameRaw, MaxMessageBytes); err != nil {
		return nil, s.failure(err)
	}
	return &rawConn{Stream: s.raw}, nil
}

// rawConn is a stream as net.Conn.
type rawConn struct {
	*yamux.Stream
	closed func() // nil, or gives back the opener's slot
	once   sync.Once
}

// Close ends both directions.
func (c *rawConn) Close() error {
	c.once.Do(func() {
		cut(c.Stream)
		if c.closed != nil {
			c.closed()
		}
	})
	return nil
}

// CloseWrite tells the reader at the other end that everything was written; reading goes on.
func (c *rawConn) CloseWrite() error { return c.Stream.Close() }
