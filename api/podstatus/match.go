package podstatus

import (
	"bytes"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// recentMax is how many shapes a parser tries before it takes a status apart field by field. A burst of statuses has two or three.
const recentMax = 4

// guess takes a status apart by a shape that others had a moment ago: to compare costs a quarter of finding out. Nil if it has none of them.
func (p *parser) guess(encoded []byte) *shape {
	for i, s := range p.recent {
		if p.reset(); p.match(s, encoded) {
			copy(p.recent[1:i+1], p.recent[:i])
			p.recent[0] = s
			return s
		}
	}
	p.reset()
	return nil
}

func (p *parser) remember(s *shape) {
	if len(p.recent) == recentMax {
		p.recent = p.recent[:recentMax-1]
	}
	p.recent = slices.Insert(p.recent, 0, s)
}

// match says whether b is a status of the shape, written as the shape would write it, and if so collects its values. It says no where the
// parser would have taken another step, so both find the same shape.
func (p *parser) match(s *shape, b []byte) bool {
	var ends [fieldsDepth]int // of the messages that have begun, as what is left of b behind them
	depth, at := 0, 0
	for i := range s.steps {
		step := &s.steps[i]
		if !bytes.HasPrefix(b, step.bytes) {
			return false
		}
		b = b[len(step.bytes):]
		ok := true
		switch step.op {
		case stepBegin:
			var n uint64
			n, b, ok = shortest(b)
			ok = ok && n <= uint64(len(b))
			ends[depth] = len(b) - int(n)
			depth++
		case stepEnd:
			depth--
			ok = len(b) == ends[depth]
		case stepNumber:
			var v uint64
			v, b, ok = shortest(b)
			p.values = binary.AppendUvarint(p.values, v)
			p.texts = append(p.texts, nil)
			at++
		case stepText, stepMoment:
			var value []byte
			value, b, ok = sized(b)
			ok = ok && p.value(&s.holes[at], value)
			at++
		}
		if !ok {
			return false
		}
	}
	return len(b) == 0
}

// value collects the value of a hole.
func (p *parser) value(h *hole, value []byte) bool {
	if h.kind == moment {
		seconds, ok := wholeSeconds(value)
		if !ok || len(value) != len(appendMoment(p.again[:0], seconds))-1 {
			return false
		}
		p.addMoment(seconds)
		return true
	}
	if len(value) == 0 || string(prefixOf(value)) != h.prefix {
		return false
	}
	p.addText(value, len(h.prefix))
	return true
}

// shortest reads a number that has no byte more than it needs.
func shortest(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 || n != protowire.SizeVarint(v) {
		return 0, nil, false
	}
	return v, b[n:], true
}

// sized reads bytes led by their length.
func sized(b []byte) (value, rest []byte, ok bool) {
	n, b, ok := shortest(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
