package podstatus

import (
	"bytes"
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// Steps of a key. Begin and end enclose a message.
const (
	stepLiteral byte = iota + 1 // the length, fields as they are
	stepBegin                   // the field's number
	stepEnd
	stepText   // the field's number, a byte for the length of the prefix, the prefix
	stepMoment // the field's number
	stepNumber // the field's number
)

// parser takes a message apart into a shape's key, which says how to put it together, and values in the order of the key's steps.
type parser struct {
	key    []byte
	values []byte
	texts  [][]byte // what each value is as a text; nil for others
	last   int64    // the moment before

	check Expander
	again []byte

	recent []*shape // that have proved to come back, the latest first
}

// parsers keeps parsers for their memory.
var parsers = sync.Pool{New: func() any { return new(parser) }}

func (p *parser) reset() {
	clear(p.texts)
	p.key, p.values, p.texts, p.last = p.key[:0], p.values[:0], p.texts[:0], 0
}

// message says no if it does not understand b.
func (p *parser) message(known fields, b []byte) bool {
	for len(b) > 0 {
		num, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		size := protowire.ConsumeFieldValue(num, wire, b[n:])
		if size < 0 {
			return false
		}
		if !p.field(known.get(num), num, wire, b[n:n+size]) {
			p.key = appendLiteral(p.key, b[:n+size])
		}
		b = b[n+size:]
	}
	return true
}

// field says no, and does nothing, if the field belongs to the shape as it is.
func (p *parser) field(f field, num protowire.Number, wire protowire.Type, value []byte) bool {
	if f.kind == number && wire == protowire.VarintType {
		v, _ := protowire.ConsumeVarint(value)
		p.step(stepNumber, num)
		p.values = binary.AppendUvarint(p.values, v)
		p.texts = append(p.texts, nil)
		return true
	}
	if wire != protowire.BytesType {
		return false
	}
	value, _ = protowire.ConsumeBytes(value)
	switch {
	case f.in != nil:
		return p.inner(f.in, num, value)
	case f.kind == text && len(value) > 0:
		p.text(num, value)
		return true
	case f.kind == moment:
		return p.moment(num, value)
	}
	return false
}

func (p *parser) inner(known fields, num protowire.Number, value []byte) bool {
	was := *p
	p.step(stepBegin, num)
	if !p.message(known, value) {
		*p = was
		return false
	}
	p.key = append(p.key, stepEnd)
	return true
}

func (p *parser) text(num protowire.Number, value []byte) {
	prefix := prefixOf(value)
	p.step(stepText, num)
	p.key = append(append(p.key, byte(len(prefix))), prefix...)
	p.addText(value, len(prefix))
}

func (p *parser) addText(value []byte, prefix int) {
	p.values = appendText(p.values, p.texts, value, prefix)
	p.texts = append(p.texts, value)
}

func (p *parser) moment(num protowire.Number, value []byte) bool {
	seconds, ok := wholeSeconds(value)
	if !ok {
		return false
	}
	p.step(stepMoment, num)
	p.addMoment(seconds)
	return true
}

func (p *parser) addMoment(seconds int64) {
	p.values = binary.AppendVarint(p.values, seconds-p.last)
	p.last = seconds
	p.texts = append(p.texts, nil)
}

func (p *parser) step(op byte, num protowire.Number) {
	p.key = protowire.AppendVarint(append(p.key, op), uint64(num))
}

func appendLiteral(key, literal []byte) []byte {
	return append(binary.AppendUvarint(append(key, stepLiteral), uint64(len(literal))), literal...)
}

// prefixOf is the scheme of an id with its "://", or nothing.
func prefixOf(value []byte) []byte {
	const most = 16
	i := bytes.Index(value[:min(len(value), most)], []byte("://"))
	if i < 0 {
		return nil
	}
	for _, c := range value[:i] {
		if c < 'a' || c > 'z' {
			return nil
		}
	}
	return value[:i+len("://")]
}

// Tags of a Time's fields.
const (
	timeSeconds = 1 << 3
	timeNanos   = 2 << 3
)

// wholeSeconds reads a Time as it is usually written: seconds, and no nanoseconds.
func wholeSeconds(value []byte) (int64, bool) {
	if len(value) < 4 || value[0] != timeSeconds {
		return 0, false
	}
	seconds, n := protowire.ConsumeVarint(value[1:])
	if n < 0 || !bytes.Equal(value[1+n:], []byte{timeNanos, 0}) || int64(seconds) == zeroTime {
		return 0, false
	}
	return int64(seconds), true
}
