package kube

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"
)

// deflated is a part of a document that was compressed by itself: it ends at a byte and refers to nothing before it, so that parts one
// after another are one stream. A document of many parts is made anew by compressing those that have changed.
type deflated struct {
	bytes []byte
	crc   uint32 // of what is in it
	size  int    // of what is in it
}

// lastBlock ends a stream and holds nothing.
var lastBlock = []byte{1, 0, 0, 0xff, 0xff}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is one that there is
	}
	return w
}}

func deflate(plain []byte) (deflated, error) {
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	if _, err := w.Write(plain); err != nil {
		return deflated{}, err
	}
	if err := w.Flush(); err != nil {
		return deflated{}, err
	}
	return deflated{bytes.Clone(b.Bytes()), crc32.ChecksumIEEE(plain), len(plain)}, nil
}

// reader gives the part as a stream of its own.
func (d deflated) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(d.bytes), bytes.NewReader(lastBlock))
}

// gzipped is a stream of parts.
type gzipped struct {
	parts  []deflated
	tail   [13]byte
	length int // of the stream
}

// gzipHead says that deflate was used; of the file, its time and the system that it tells nothing.
var gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// gzipOf makes one stream of parts, as RFC 1952 has it.
func gzipOf(parts []deflated) *gzipped {
	g := &gzipped{parts: parts, length: len(gzipHead)}
	var crc uint32
	var size uint32
	for _, p := range parts {
		crc = joinCRC(crc, p.crc, p.size)
		size += uint32(p.size) // #nosec G115 -- the format wants it modulo 2^32
		g.length += len(p.bytes)
	}
	copy(g.tail[:], lastBlock)
	binary.LittleEndian.PutUint32(g.tail[5:], crc)
	binary.LittleEndian.PutUint32(g.tail[9:], size)
	g.length += len(g.tail)
	return g
}

// WriteTo implements io.WriterTo.
func (g *gzipped) WriteTo(w io.Writer) (n int64, err error) {
	write := func(b []byte) bool {
		var m int
		m, err = w.Write(b)
		n += int64(m)
		return err == nil
	}
	if !write(gzipHead) {
		return n, err
	}
	for _, p := range g.parts {
		if !write(p.bytes) {
			return n, err
		}
	}
	write(g.tail[:])
	return n, err
}

// joinCRC is the checksum of two texts one after the other, of theirs and the second's length: as a polynomial the first is shifted by
// the length of the second.
func joinCRC(first, second uint32, length int) uint32 {
	const one, byteLong = uint32(1) << 31, uint32(1) << 23 // x^0 and x^8: the highest bit is the lowest power
	shift, square := one, byteLong
	for ; length > 0; length >>= 1 {
		if length&1 == 1 {
			shift = timesCRC(shift, square)
		}
		square = timesCRC(square, square)
	}
	return timesCRC(shift, first) ^ second
}

// timesCRC multiplies polynomials modulo that of the checksum.
func timesCRC(a, b uint32) (product uint32) {
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry == 1 {
			b ^= crc32.IEEE
		}
	}
	return product
}
