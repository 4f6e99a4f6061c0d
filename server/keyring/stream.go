package keyring

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// streamMagic leads a sealed stream. The ring follows, and the ID of the key and of the stream; then pieces, each with its length.
	streamMagic = "peapod-sealed-1\n"
	streamBytes = 16      // of the stream's own ID
	pieceBytes  = 1 << 16 // of plain text
	ringMax     = 1 << 20
	lastPiece   = 1 << 31 // in the length of the last piece
)

// place is what a piece is bound to: its stream, where in it it is, and whether it is the last. So pieces cannot be left out, added,
// moved or taken from another stream.
func place(stream []byte, n uint64, last bool) []byte {
	b := append([]byte("peapod snapshot "), stream...)
	b = binary.BigEndian.AppendUint64(b, n)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// Writer seals a stream.
type Writer struct {
	out    io.Writer
	aead   *xaes
	stream []byte
	n      uint64
	plain  []byte
	sealed []byte
}

// NewWriter seals what is written to it under the ring's newest key. Close ends it and does not close out.
func NewWriter(out io.Writer, ring *Ring) (*Writer, error) {
	id := ring.Active().ID
	w := &Writer{out: out, aead: ring.open[id], stream: random(streamBytes), plain: make([]byte, 0, pieceBytes)}
	encoded := ring.Encode()
	header := append([]byte(streamMagic), binary.BigEndian.AppendUint32(nil, uint32(len(encoded)))...)
	header = append(header, encoded...)
	header = append(header, raw(id)...)
	header = append(header, w.stream...)
	_, err := out.Write(header)
	return w, err
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	written := len(b)
	for len(b) > 0 {
		if len(w.plain) == pieceBytes {
			if err := w.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(len(b), pieceBytes-len(w.plain))
		w.plain, b = append(w.plain, b[:n]...), b[n:]
	}
	return written, nil
}

// Close writes the last piece.
func (w *Writer) Close() error { return w.flush(true) }

func (w *Writer) flush(last bool) error {
	nonce := random(nonceBytes)
	length := uint32(nonceBytes + len(w.plain) + overheadBytes)
	if last {
		length |= lastPiece
	}
	w.sealed = append(binary.BigEndian.AppendUint32(w.sealed[:0], length), nonce...)
	w.sealed = w.aead.seal(w.sealed, nonce, w.plain, place(w.stream, w.n, last))
	w.n, w.plain = w.n+1, w.plain[:0]
	_, err := w.out.Write(w.sealed)
	return err
}

// Reader opens a stream.
type Reader struct {
	in     *bufio.Reader
	aead   *xaes
	stream []byte
	n      uint64
	sealed []byte
	plain  []byte // of the piece that is read
	last   bool
}

// NewReader opens a stream with the root key. A stream that was never sealed is read as it is.
func NewReader(in io.Reader, root *Root) (io.Reader, error) {
	b := bufio.NewReaderSize(in, pieceBytes)
	h, err := readHeader(b)
	if err != nil || h == nil {
		return b, err
	}
	ring, err := Decode(h.ring, root)
	if err != nil {
		return nil, err
	}
	aead, ok := ring.open[h.id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownKey, h.id)
	}
	return &Reader{in: b, aead: aead, stream: h.stream}, nil
}

// StreamKey is the ID of the key under which a stream is sealed; "" if it is not.
func StreamKey(in io.Reader) (string, error) {
	h, err := readHeader(bufio.NewReader(in))
	if err != nil || h == nil {
		return "", err
	}
	return h.id, nil
}

type header struct {
	ring, stream []byte
	id           string
}

// readHeader answers nil for a stream that is not sealed.
func readHeader(in *bufio.Reader) (*header, error) {
	magic, err := in.Peek(len(streamMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(magic) != streamMagic {
		return nil, nil
	}
	_, _ = in.Discard(len(streamMagic))
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, damaged(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > ringMax {
		return nil, fmt.Errorf("%w: a keyring of %d bytes", ErrDamaged, n)
	}
	rest := make([]byte, int(n)+idBytes+streamBytes)
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, damaged(err)
	}
	return &header{ring: rest[:n], id: fmt.Sprintf("%x", rest[n:n+idBytes]), stream: bytes.Clone(rest[n+idBytes:])}, nil
}

// damaged tells a stream that ends too early from a disk that cannot be read.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrDamaged)
	}
	return err
}

// Read implements io.Reader. It returns nothing that was changed.
func (r *Reader) Read(b []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.last {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

func (r *Reader) next() error {
	var size [4]byte
	if _, err := io.ReadFull(r.in, size[:]); err != nil {
		return damaged(err)
	}
	length := binary.BigEndian.Uint32(size[:])
	last := length&lastPiece != 0
	n := int(length &^ lastPiece)
	if n < nonceBytes+overheadBytes || n > nonceBytes+pieceBytes+overheadBytes {
		return fmt.Errorf("%w: a piece of %d bytes", ErrDamaged, n)
	}
	if cap(r.sealed) < n {
		r.sealed = make([]byte, n)
	}
	r.sealed = r.sealed[:n]
	if _, err := io.ReadFull(r.in, r.sealed); err != nil {
		return damaged(err)
	}
	plain, err := r.aead.open(r.sealed[nonceBytes:nonceBytes], r.sealed[:nonceBytes], r.sealed[nonceBytes:], place(r.stream, r.n, last))
	if err != nil {
		return fmt.Errorf("%w: piece %d", ErrDamaged, r.n)
	}
	r.plain, r.last, r.n = plain, last, r.n+1
	return nil
}
