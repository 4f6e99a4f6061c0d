package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// memberlist's messages that make a claim about a member, and those that wrap them.
const (
	messageSuspect  = 3
	messageAlive    = 4
	messageDead     = 5
	messageCompound = 7
	messageChecksum = 12

	encryptionVersion = 1 // AES-GCM without padding
	nonceBytes        = 12
	checksumBytes     = 4
)

// claim is the part that suspect, alive and dead messages share.
type claim struct {
	Incarnation uint32
	Node        string
	From        string // empty in an alive message
}

// sniffer reads the claims in packets that memberlist is about to send. Anything else it skips: it decides nothing.
type sniffer struct {
	sealed cipher.AEAD
	handle codec.MsgpackHandle
	found  func(name string, incarnation uint32, state State)
}

func newSniffer(key []byte, found func(string, uint32, State)) (*sniffer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("reading the gossip key: %w", err)
	}
	sealed, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("reading the gossip key: %w", err)
	}
	return &sniffer{sealed: sealed, found: found}, nil
}

// packet opens one sealed packet.
func (s *sniffer) packet(sealed []byte) {
	if len(sealed) < 1+nonceBytes || sealed[0] != encryptionVersion {
		return
	}
	nonce, text := sealed[1:1+nonceBytes], sealed[1+nonceBytes:]
	plain, err := s.sealed.Open(nil, nonce, text, nil)
	if err == nil {
		s.message(plain)
	}
}

func (s *sniffer) message(m []byte) {
	if len(m) < 2 {
		return
	}
	body := m[1:]
	switch m[0] {
	case messageChecksum:
		if len(body) > checksumBytes {
			s.message(body[checksumBytes:])
		}
	case messageCompound:
		s.compound(int(body[0]), body[1:])
	case messageSuspect:
		s.claim(body, Suspect)
	case messageAlive:
		s.claim(body, Alive)
	case messageDead:
		s.claim(body, Dead)
	}
}

// compound is a count, as many lengths, and as many messages.
func (s *sniffer) compound(count int, b []byte) {
	if len(b) < 2*count {
		return
	}
	lengths, rest := b[:2*count], b[2*count:]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		length := int(binary.BigEndian.Uint16(lengths))
		if length > len(rest) {
			return
		}
		s.message(rest[:length])
		rest = rest[length:]
	}
}

func (s *sniffer) claim(body []byte, state State) {
	var c claim
	if codec.NewDecoderBytes(body, &s.handle).Decode(&c) != nil {
		return
	}
	if state == Dead && c.From == c.Node {
		state = Left // only the member itself says that it is gone
	}
	s.found(c.Node, c.Incarnation, state)
}
