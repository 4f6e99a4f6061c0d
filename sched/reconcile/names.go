package reconcile

import (
	"encoding/hex"
	"math/rand/v2"

	"k8s.io/apimachinery/pkg/types"
)

// nameAlphabet has no vowels and no digits that look like letters, so suffixes spell no words.
const nameAlphabet = "bcdfghjklmnpqrstvwxz2456789"

// generator makes UIDs and name suffixes; the same seed gives the same sequence.
type generator struct{ r *rand.Rand }

func newGenerator(seed uint64) *generator {
	return &generator{rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
}

// uid is a random UUID, version 4.
func (g *generator) uid() types.UID {
	var b [16]byte
	a, c := g.r.Uint64(), g.r.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(a>>(8*i)), byte(c>>(8*i))
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return types.UID(s[:])
}

func (g *generator) suffix() string {
	var s [suffixLength]byte
	v := g.r.Uint64()
	for i := range s {
		s[i] = nameAlphabet[v%uint64(len(nameAlphabet))]
		v /= uint64(len(nameAlphabet))
	}
	return string(s[:])
}
