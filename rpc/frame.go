package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// A frame is one byte of kind, four bytes of length (big endian), and as many bytes of msgpack.
// An opener writes frameOpen (an opening, then the request); then come frameData in both directions,
// frameEnd when a side has said all, frameError instead of it when a handler failed, and frameRaw
// where a handler turns the stream into a bare connection.
const (
	frameOpen byte = iota + 1
	frameData
	frameEnd
	frameError
	frameRaw
)

const headerBytes = 5

// opening is the head of a stream. Timeout is what is left of the caller's deadline in nanoseconds, 0 if it has none:
// clocks of machines differ, durations hardly.
type opening struct {
	Method  string
	Kind    kind
	Timeout int64
}

// handle writes structs as arrays: a field added at the end is ignored by an older reader.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	h.RawToString = true
	return h
}()

// buffer is a reusable frame with its encoder.
type buffer struct {
	b, part []byte // the frame, and the value of it that is being encoded
	encoder *codec.Encoder
}

var buffers = sync.Pool{New: func() any { return &buffer{encoder: codec.NewEncoderBytes(nil, handle)} }}

var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}

// writeFrame sends the values in one frame and in one Write.
func writeFrame(w io.Writer, kind byte, limit int, values ...any) error {
	buf := buffers.Get().(*buffer)
	defer buf.release()
	frame, err := buf.encode(kind, values)
	if err != nil {
		return err
	}
	if len(frame)-headerBytes > limit {
		return ErrTooLarge
	}
	_, err = w.Write(frame)
	return err
}

func (buf *buffer) encode(kind byte, values []any) ([]byte, error) {
	frame := append(buf.b[:0], kind, 0, 0, 0, 0)
	for _, v := range values {
		buf.encoder.ResetBytes(&buf.part)
		if err := buf.encoder.Encode(v); err != nil {
			return nil, fmt.Errorf("encoding a %T: %w", v, err)
		}
		frame = append(frame, buf.part...)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(min(len(frame)-headerBytes, 1<<32-1)))
	buf.b = frame
	return frame, nil
}

func (buf *buffer) release() {
	if max(cap(buf.b), cap(buf.part)) <= pooledBufferMax {
		buffers.Put(buf)
	}
}

// readFrame reads exactly one frame, so that whatever follows is still in r.
func readFrame(r io.Reader, limit int) (kind byte, payload []byte, err error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(header[1:])
	if int64(length) > int64(limit) {
		return 0, nil, ErrTooLarge
	}
	if length == 0 {
		return header[0], nil, nil
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return header[0], payload, nil
}

// release keeps the decoder, but not the message that it read.
func release(decoder *codec.Decoder) {
	decoder.ResetBytes(nil)
	decoders.Put(decoder)
}

// decode reads the values that stand one after the other in payload. A nil value stops it.
func decode(payload []byte, values ...any) error {
	decoder := decoders.Get().(*codec.Decoder)
	defer release(decoder)
	decoder.ResetBytes(payload)
	for _, v := range values {
		if v == nil {
			return nil
		}
		if err := decoder.Decode(v); err != nil {
			return fmt.Errorf("decoding a %T: %w", v, err)
		}
	}
	return nil
}

// split decodes the opening and returns the bytes of the request behind it.
func split(payload []byte) (opening, []byte, error) {
	var o opening
	decoder := decoders.Get().(*codec.Decoder)
	defer release(decoder)
	decoder.ResetBytes(payload)
	if err := decoder.Decode(&o); err != nil {
		return o, nil, fmt.Errorf("decoding the head of a stream: %w", err)
	}
	return o, payload[decoder.NumBytesRead():], nil
}
