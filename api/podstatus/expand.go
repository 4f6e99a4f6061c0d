package podstatus

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Expander puts statuses together. It keeps what it needs for the next; its zero value is ready.
type Expander struct {
	values []value
	texts  []byte
}

// AppendStored appends the protobuf that Compact was given, byte for byte.
func (e *Expander) AppendStored(b []byte, s Status) []byte {
	if s.shape == nil {
		return b
	}
	return s.shape.appendProto(b, e.read(s))
}

// AppendProto appends the protobuf of the typed status.
func (e *Expander) AppendProto(b []byte, s Status) ([]byte, error) {
	if s.shape != nil && s.shape.plain && !s.shape.phaseMeant {
		return e.AppendStored(b, s), nil
	}
	typed := s.Decode()
	encoded, err := typed.Marshal()
	return append(b, encoded...), err
}

// AppendJSON appends the JSON of the typed status, byte for byte what encoding/json makes of it.
func (e *Expander) AppendJSON(b []byte, s Status) ([]byte, error) {
	var parts *jsonParts
	if s.shape != nil {
		parts = s.shape.json()
	}
	if parts == nil {
		typed := s.Decode()
		encoded, err := json.Marshal(&typed)
		return append(b, encoded...), err
	}
	values := e.read(s)
	for _, p := range parts.parts {
		b = append(b, p.before...)
		v := values[p.value]
		switch s.shape.holes[p.value].kind {
		case text:
			b = AppendQuoted(b, v.text)
		case moment:
			b = AppendTimestamp(b, v.number)
		case number:
			b = strconv.AppendInt(b, int64(int32(v.number)), 10)
		}
	}
	return append(b, parts.tail...), nil
}

// jsonParts is the JSON of a shape, cut at its values.
type jsonParts struct {
	parts []jsonPart
	tail  []byte
}

// jsonPart is what is before a value.
type jsonPart struct {
	before []byte
	value  int
}

// cutJSON encodes a status of marks, and cuts it where they are. It returns nil unless each mark is there exactly once.
func (s *shape) cutJSON() *jsonParts {
	var typed corev1.PodStatus
	marks := s.marks()
	if !s.plain || typed.Unmarshal(s.appendProto(nil, marks)) != nil {
		return nil
	}
	if typed.Phase == "" {
		typed.Phase = corev1.PodPending
	}
	whole, err := json.Marshal(&typed)
	if err != nil {
		return nil
	}
	type cut struct{ start, end, value int }
	cuts := make([]cut, len(marks))
	for i, m := range marks {
		var mark []byte
		switch s.holes[i].kind {
		case text:
			mark = AppendQuoted(nil, m.text)
		case moment:
			mark = AppendTimestamp(nil, m.number)
		case number:
			mark = strconv.AppendInt(nil, m.number, 10)
		}
		if bytes.Count(whole, mark) != 1 {
			return nil
		}
		start := bytes.Index(whole, mark)
		cuts[i] = cut{start, start + len(mark), i}
	}
	slices.SortFunc(cuts, func(a, b cut) int { return a.start - b.start })
	out, done := &jsonParts{}, 0
	for _, c := range cuts {
		out.parts = append(out.parts, jsonPart{whole[done:c.start], c.value})
		done = c.end
	}
	out.tail = whole[done:]
	return out
}

// AppendTimestamp appends a time of whole seconds as JSON.
func AppendTimestamp(b []byte, seconds int64) []byte {
	return append(time.Unix(seconds, 0).UTC().AppendFormat(append(b, '"'), time.RFC3339), '"')
}

// AppendQuoted appends a string as JSON.
func AppendQuoted[T string | []byte](b []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c < '-' || c > 'z' || c == '\\' || c == '<' || c == '>' {
			quoted, _ := json.Marshal(string(s)) // strings always encode
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
