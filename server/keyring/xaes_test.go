package keyring

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestXAES: the vectors of its specification, of a key whose subkey is shifted without and with a carry.
func TestXAES(t *testing.T) {
	for _, c := range []struct {
		key         byte
		bound, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x := must(newAEAD(bytes.Repeat([]byte{c.key}, KeyBytes)))
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed := x.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(c.bound))
		if got := hex.EncodeToString(sealed); got != c.want {
			t.Errorf("key %d: %s, not %s", c.key, got, c.want)
		}
		if got, err := x.open(nil, nonce, sealed, []byte(c.bound)); err != nil || string(got) != "XAES-256-GCM" {
			t.Errorf("key %d opens to %q, %v", c.key, got, err)
		}
	}
}
