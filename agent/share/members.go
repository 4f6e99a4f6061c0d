package share

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// Member is a node that gives and takes layers.
type Member struct{ Name, Address string } // host:port

// keepers orders the members by their claim to a digest: rendezvous hashing, so that all nodes come to the same order
// without a word, and a member that goes moves only its own digests.
func keepers(digest string, members []Member) []Member {
	type claim struct {
		Member
		weight uint64
	}
	claims := make([]claim, len(members))
	for i, m := range members {
		h := sha256.Sum256([]byte(digest + "\x00" + m.Name))
		claims[i] = claim{m, binary.BigEndian.Uint64(h[:])}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		if a.weight != b.weight {
			if a.weight > b.weight {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	out := make([]Member, len(claims))
	for i, c := range claims {
		out[i] = c.Member
	}
	return out
}
