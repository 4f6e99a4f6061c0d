package podstatus

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"
)

// zeroTime is Go's zero time in seconds since 1970, which is encoded in ways of its own.
var zeroTime = time.Time{}.Unix()

// value is one value, expanded.
type value struct {
	text   []byte // with its prefix
	number int64  // or seconds since 1970
}

// A text is led by a number: 0 for an IPv4 address of 4 bytes, else how it is written in the lowest two bits and above them what
// that way needs.
const (
	textPlain = 1 // the length; the bytes
	textHex   = 2 // the length in bytes; these
	textAgain = 3 // which value it equals
	textWays  = 4
)

// appendText writes a text without its prefix; before are the values so far.
func appendText(b []byte, before [][]byte, whole []byte, prefix int) []byte {
	for i, t := range before {
		if t != nil && string(t) == string(whole) {
			return binary.AppendUvarint(b, uint64(i)*textWays+textAgain)
		}
	}
	rest := whole[prefix:]
	if a, ok := ipv4(rest); ok {
		return append(append(b, 0), a[:]...)
	}
	if n := hex.DecodedLen(len(rest)); isHex(rest) {
		b = binary.AppendUvarint(b, uint64(n)*textWays+textHex)
		b = append(b, make([]byte, n)...)
		_, _ = hex.Decode(b[len(b)-n:], rest) // isHex has looked
		return b
	}
	return append(binary.AppendUvarint(b, uint64(len(rest))*textWays+textPlain), rest...)
}

// ipv4 reads an address that is written the one usual way.
func ipv4(text []byte) (a [4]byte, ok bool) {
	if len(text) > len("255.255.255.255") || len(text) < len("0.0.0.0") || text[0] > '9' {
		return a, false
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil || !addr.Is4() {
		return a, false
	}
	return addr.As4(), true
}

// isHex says whether the text is an even number of hexadecimal digits as Go writes them.
func isHex(text []byte) bool {
	if len(text) == 0 || len(text)%2 != 0 {
		return false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// read expands the values of a status. They are valid until the next call.
func (e *Expander) read(s Status) []value {
	e.values, e.texts = e.values[:0], e.texts[:0]
	rest, last := s.values, int64(0)
	for _, h := range s.shape.holes {
		var v value
		switch h.kind {
		case moment:
			delta, n := uvarint(rest)
			rest = rest[n:]
			last += unzigzag(delta)
			v.number = last
		case number:
			u, n := uvarint(rest)
			rest = rest[n:]
			v.number = int64(u)
		case text:
			v.text, rest = e.text(rest, h.prefix)
		}
		e.values = append(e.values, v)
	}
	return e.values
}

// text expands one text into e.texts.
func (e *Expander) text(in, prefix string) (out []byte, rest string) {
	way, arg, in := textHead(in)
	if way == textAgain {
		return e.values[arg].text, in
	}
	start := len(e.texts)
	e.texts = appendWritten(append(e.texts, prefix...), way, in[:arg])
	return e.texts[start:len(e.texts):len(e.texts)], in[arg:]
}

// textHead reads how a text is written, and of how many bytes or as which value.
func textHead(in string) (way, arg int, rest string) {
	head, n := uvarint(in)
	if head == 0 {
		return 0, 4, in[n:]
	}
	return int(head % textWays), int(head / textWays), in[n:]
}

func appendWritten(b []byte, way int, in string) []byte {
	switch way {
	case 0:
		return netip.AddrFrom4([4]byte{in[0], in[1], in[2], in[3]}).AppendTo(b)
	case textHex:
		return appendHex(b, in)
	}
	return append(b, in...)
}

// momentAt expands one value alone, a moment.
func (s Status) momentAt(at int) (seconds int64) {
	s.walk(at, func(i int, rest string) {
		if s.shape.holes[i].kind == moment {
			delta, _ := uvarint(rest)
			seconds += unzigzag(delta)
		}
	})
	return seconds
}

// textAt expands one value alone, a text.
func (s Status) textAt(at int) (text string) {
	s.walk(at, func(i int, rest string) {
		if i != at {
			return
		}
		way, arg, rest := textHead(rest)
		if way == textAgain {
			text = s.textAt(arg)
		} else {
			text = string(appendWritten([]byte(s.shape.holes[i].prefix), way, rest[:arg]))
		}
	})
	return text
}

// walk visits the values up to and including number last, as they are written.
func (s Status) walk(last int, visit func(i int, rest string)) {
	rest := s.values
	for i, h := range s.shape.holes[:last+1] {
		visit(i, rest)
		if h.kind != text {
			_, n := uvarint(rest)
			rest = rest[n:]
			continue
		}
		way, arg, after := textHead(rest)
		if rest = after; way != textAgain {
			rest = rest[arg:]
		}
	}
}

func appendHex(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i := range len(s) {
		b = append(b, digits[s[i]>>4], digits[s[i]&15])
	}
	return b
}

// uvarint is binary.Uvarint of a string that is known to begin with one.
func uvarint(s string) (v uint64, n int) {
	for shift := 0; ; shift += 7 {
		c := s[n]
		n++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, n
		}
	}
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
