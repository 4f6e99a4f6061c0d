package dns

import (
	"encoding/binary"

	mdns "github.com/miekg/dns"
)

// Places and bits in a message (RFC 1035 section 4.1.1, RFC 6891 section 6.1).
const (
	headerBytes = 12
	optBytes    = 11
	bitResponse = 0x80 // of byte 2
	bitRecurse  = 0x01 // of byte 2
	bitNoCheck  = 0x10 // of byte 3
	bitSecure   = 0x80 // of byte 7 of an OPT record
)

// plain is a question as nearly all are: one name, and at most an EDNS record beside it.
type plain struct {
	key  []byte // equal for questions that have the same answer, whatever their spelling
	end  int    // of the question in the message
	size int    // that the answer may have
}

// readPlain reads a message in place; ok is false if it is not plain. The key is appended to buf.
func readPlain(b, buf []byte) (p plain, ok bool) {
	if len(b) < headerBytes || b[2]&^bitRecurse != 0 || binary.BigEndian.Uint16(b[4:]) != 1 ||
		binary.BigEndian.Uint32(b[6:]) != 0 || binary.BigEndian.Uint16(b[10:]) > 1 {
		return plain{}, false
	}
	name := nameEnd(b)
	if name == 0 || name+4 > len(b) {
		return plain{}, false
	}
	p = plain{end: name + 4, size: udpSizeMin}
	edns, ok := p.readOPT(b)
	if !ok {
		return plain{}, false
	}
	for _, c := range b[headerBytes:name] { // lengths of labels are less than any letter
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf = append(buf, c)
	}
	p.key = append(append(buf, b[name:p.end]...), edns)
	return p, true
}

// nameEnd is where the name of the question ends; 0 if it is not whole, too long, or points elsewhere.
func nameEnd(b []byte) int {
	for i := headerBytes; i < len(b) && i < headerBytes+255; {
		n := int(b[i])
		if n == 0 {
			return i + 1
		}
		if n > 63 {
			return 0
		}
		i += 1 + n
	}
	return 0
}

// readOPT reads what follows the question: nothing, or one EDNS record of version 0 without options. edns is 0 without such a record.
func (p *plain) readOPT(b []byte) (edns byte, ok bool) {
	o := b[p.end:]
	if b[11] == 0 {
		return 0, len(o) == 0
	}
	if len(o) != optBytes || o[0] != 0 || binary.BigEndian.Uint16(o[1:]) != mdns.TypeOPT || o[5] != 0 || o[6] != 0 ||
		binary.BigEndian.Uint16(o[9:]) != 0 {
		return 0, false
	}
	p.size = clampSize(binary.BigEndian.Uint16(o[3:]))
	return 1 | o[7]&bitSecure, true
}

func clampSize(n uint16) int { return int(min(max(n, udpSizeMin), udpSizeMax)) }

// again appends a remembered answer to dst, as the answer to the message b: with its number, its flags and its spelling
// of the name, which clients may check.
func (p *plain) again(dst, answer, b []byte) []byte {
	start := len(dst)
	dst = append(dst, answer...)
	out := dst[start:]
	copy(out, b[:2])
	out[2] |= b[2] & bitRecurse
	out[3] |= b[3] & bitNoCheck
	copy(out[headerBytes:p.end], b[headerBytes:p.end])
	return dst
}

// forget makes an answer one that again can take: without the flags of the question that it was made for.
func forget(answer []byte) []byte {
	out := append([]byte(nil), answer...)
	out[2] &^= bitRecurse
	out[3] &^= bitNoCheck
	return out
}
