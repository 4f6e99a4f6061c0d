package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

const (
	// KeyBytes is the size of every key, in bytes.
	KeyBytes = 32

	nonceBytes    = 24
	overheadBytes = 16
	half          = nonceBytes / 2
)

// xaes is XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM under a key that is derived, as NIST SP 800-108r1 says, from the first half of
// a nonce of 192 bits, with the second half for its nonce. AES-GCM alone must not draw its nonces at random more than 2^32 times, which a log can do
// in weeks; this may for ever. It is as fast, which XChaCha20-Poly1305 is not.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC's subkey
}

func newAEAD(key []byte) (*xaes, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("a key must have %d bytes, not %d", KeyBytes, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	carry := byte(0)
	for i := aes.BlockSize - 1; i >= 0; i-- {
		x.k1[i], carry = x.k1[i]<<1|carry, x.k1[i]>>7
	}
	x.k1[aes.BlockSize-1] ^= carry * 0x87
	return x, nil
}

// gcm is the cipher for one nonce.
func (x *xaes) gcm(nonce []byte) (cipher.AEAD, error) {
	key := make([]byte, 0, KeyBytes)
	for counter := byte(1); counter <= 2; counter++ {
		m := [aes.BlockSize]byte{0, counter, 'X', 0}
		copy(m[4:], nonce[:half])
		for i := range m {
			m[i] ^= x.k1[i]
		}
		x.block.Encrypt(m[:], m[:])
		key = append(key, m[:]...)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal appends to dst. The nonce has nonceBytes.
func (x *xaes) seal(dst, nonce, plain, bound []byte) []byte {
	g, err := x.gcm(nonce)
	if err != nil {
		panic(fmt.Sprintf("keyring: %v", err)) // the sizes are right
	}
	return g.Seal(dst, nonce[half:], plain, bound)
}

// open appends to dst.
func (x *xaes) open(dst, nonce, sealed, bound []byte) ([]byte, error) {
	if len(nonce) != nonceBytes || len(sealed) < overheadBytes {
		return nil, errors.New("it is too short")
	}
	g, err := x.gcm(nonce)
	if err != nil {
		return nil, err
	}
	return g.Open(dst, nonce[half:], sealed, bound)
}
