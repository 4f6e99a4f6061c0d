package gossip

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// FuzzSniff: no packet makes the sniffer see more claims than could be in it, and one that is not sealed with the key makes it see none.
func FuzzSniff(f *testing.F) {
	var found int
	s, err := newSniffer(bytes.Repeat([]byte{1}, 32), func(string, uint32, State) { found++ })
	if err != nil {
		f.Fatal(err)
	}
	var body []byte
	if err := codec.NewEncoderBytes(&body, &s.handle).Encode(map[string]any{"Incarnation": 3, "Node": "n1", "From": "n2"}); err != nil {
		f.Fatal(err)
	}
	suspect := append([]byte{messageSuspect}, body...)
	f.Add(suspect)
	f.Add(append([]byte{messageChecksum, 1, 2, 3, 4}, suspect...))
	f.Add(append([]byte{messageCompound, 2, 0, byte(len(suspect)), 0, byte(len(suspect))}, bytes.Repeat(suspect, 2)...))
	f.Add(append([]byte{encryptionVersion}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		found = 0
		s.packet(b)
		if found > 0 {
			t.Fatal("a claim in a packet that nobody sealed")
		}
		nonce := make([]byte, nonceBytes)
		_, _ = rand.Read(nonce) // never fails since Go 1.24
		s.packet(s.sealed.Seal(append([]byte{encryptionVersion}, nonce...), nonce, b, nil))
		sealed := found
		found = 0
		if s.message(b); found != sealed || found > len(b) {
			t.Fatalf("%d claims sealed, %d plain, in %d bytes", sealed, found, len(b))
		}
	})
}
