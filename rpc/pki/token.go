package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrToken says that a text is no join token.
var ErrToken = errors.New("this is not a join token: it must look like peapod.<id>.<secret>.<hash>; make one with `peapod token create` on a server")

// Token lets an agent join: the id names it, the secret proves it, and CAHash (hex SHA-256 of the CA
// certificate's DER) tells the agent which cluster to trust before it has any certificate.
type Token struct{ ID, Secret, CAHash string }

var tokenForm = regexp.MustCompile(`^peapod\.([0-9a-f]{8})\.([0-9a-f]{32})\.([0-9a-f]{64})$`)

// NewToken makes a token with a secret of 128 random bits.
func NewToken(ca *CA) Token {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return Token{ID: hex.EncodeToString(b[:4]), Secret: hex.EncodeToString(b[4:]), CAHash: ca.Hash()}
}

// ParseToken reads what String wrote. Its error tells what a token looks like and never repeats the secret.
func ParseToken(text string) (Token, error) {
	m := tokenForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Token{}, ErrToken
	}
	return Token{ID: m[1], Secret: m[2], CAHash: m[3]}, nil
}

// String is the token as people copy it. It contains the secret.
func (t Token) String() string { return fmt.Sprintf("peapod.%s.%s.%s", t.ID, t.Secret, t.CAHash) }

// HashSecret is all that the cluster keeps of a secret (32 bytes). The secret is random, so a plain
// SHA-256 is as hard to turn back as a slow one.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte("peapod join token\x00" + secret))
	return sum[:]
}

// SecretMatches compares in constant time.
func SecretMatches(hash []byte, secret string) bool {
	return subtle.ConstantTimeCompare(hash, HashSecret(secret)) == 1
}
