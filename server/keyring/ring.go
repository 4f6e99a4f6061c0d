package keyring

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// idBytes is the size of what names a key, in bytes.
	idBytes = 8
	// entryMark leads a sealed entry. Entries that are not sealed begin with the format of their ops, which counts from 1.
	entryMark = 0xE1

	headerBytes = 1 + idBytes + nonceBytes
)

// Errors of opening.
var (
	// ErrUnknownKey means that the ring has no such key (any more).
	ErrUnknownKey = errors.New("it is encrypted under a key that is not in the keyring")
	// ErrDamaged means that what was sealed was changed, or is not whole.
	ErrDamaged = errors.New("what was encrypted is damaged")
	// ErrNoRoot means that the root key is not here.
	ErrNoRoot = errors.New("the root key is not on this server")
	// ErrWrongRoot means that the root key here is not the one that wraps the keys.
	ErrWrongRoot = errors.New("the root key on this server is another one than the cluster's")
)

// Key is a data key as it is kept.
type Key struct {
	ID      string // hexadecimal
	Created time.Time
	Wrapped []byte // by the root
	// First says that nothing was ever written without it, or under another key before it.
	First bool `json:",omitempty"`
}

// Ring has the data keys. It is not changed once made.
type Ring struct {
	root string // ID
	keys []Key  // the last one seals
	open map[string]*xaes
}

// stored is a Ring as it is encoded.
type stored struct {
	Root string
	Keys []Key
}

// NewRing makes a ring of one new key. first says that nothing has been written without it.
func NewRing(root *Root, now time.Time, first bool) (*Ring, error) {
	return (&Ring{root: root.id}).with(root, now, first)
}

// Add makes a ring with a new key that seals from now on.
func (r *Ring) Add(root *Root, now time.Time) (*Ring, error) { return r.with(root, now, false) }

func (r *Ring) with(root *Root, now time.Time, first bool) (*Ring, error) {
	id := hex.EncodeToString(random(idBytes))
	k := Key{ID: id, Created: now.UTC().Truncate(time.Second), Wrapped: root.wrap(id, random(KeyBytes)), First: first}
	return opened(stored{r.root, append(slices.Clone(r.keys), k)}, root)
}

// Remove makes a ring without a key that does not seal.
func (r *Ring) Remove(root *Root, id string) (*Ring, error) {
	at := slices.IndexFunc(r.keys, func(k Key) bool { return k.ID == id })
	switch {
	case at < 0:
		return nil, fmt.Errorf("there is no key %q in the keyring", id)
	case at == len(r.keys)-1:
		return nil, fmt.Errorf("key %s is the one in use: rotate first", id)
	}
	return opened(stored{r.root, slices.Delete(slices.Clone(r.keys), at, at+1)}, root)
}

// Encode is the ring as it is kept: the keys are wrapped.
func (r *Ring) Encode() []byte {
	b, err := json.Marshal(stored{r.root, r.keys})
	if err != nil {
		panic(fmt.Sprintf("keyring: %v", err)) // our own types always encode
	}
	return b
}

// Decode reads what Encode wrote. Errors: ErrNoRoot if root is nil, ErrWrongRoot.
func Decode(b []byte, root *Root) (*Ring, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: the keyring: %w", ErrDamaged, err)
	}
	return opened(s, root)
}

func opened(s stored, root *Root) (*Ring, error) {
	if root == nil {
		return nil, fmt.Errorf("%w: its ID is %s", ErrNoRoot, s.Root)
	}
	if root.id != s.Root {
		return nil, fmt.Errorf("%w: it is %s and not %s", ErrWrongRoot, root.id, s.Root)
	}
	if len(s.Keys) == 0 {
		return nil, fmt.Errorf("%w: the keyring has no keys", ErrDamaged)
	}
	r := &Ring{root: s.Root, keys: s.Keys, open: map[string]*xaes{}}
	for _, k := range s.Keys {
		secret, err := root.unwrap(k)
		if err != nil {
			return nil, err
		}
		if r.open[k.ID], err = newAEAD(secret); err != nil {
			return nil, fmt.Errorf("%w: key %s: %w", ErrDamaged, k.ID, err)
		}
	}
	return r, nil
}

// Active is the key that seals.
func (r *Ring) Active() Key { return r.keys[len(r.keys)-1] }

// Keys are all of them, the oldest first.
func (r *Ring) Keys() []Key { return slices.Clone(r.keys) }

// Root is the ID of the key that wraps.
func (r *Ring) Root() string { return r.root }

func (r *Root) wrap(id string, secret []byte) []byte {
	nonce := random(nonceBytes)
	return r.aead.seal(nonce, nonce, secret, []byte("peapod data key "+id))
}

func (r *Root) unwrap(k Key) ([]byte, error) {
	if len(k.Wrapped) < nonceBytes {
		return nil, fmt.Errorf("%w: key %s", ErrDamaged, k.ID)
	}
	secret, err := r.aead.open(nil, k.Wrapped[:nonceBytes], k.Wrapped[nonceBytes:], []byte("peapod data key "+k.ID))
	if err != nil {
		return nil, fmt.Errorf("%w: key %s does not open with the root key", ErrDamaged, k.ID)
	}
	return secret, nil
}

// Sealed says whether an entry is sealed, and under which key.
func Sealed(entry []byte) (id string, ok bool) {
	if len(entry) < headerBytes || entry[0] != entryMark {
		return "", false
	}
	return hex.EncodeToString(entry[1 : 1+idBytes]), true
}

// Seal encrypts an entry. What it is about is inside, so no part of it can be put into another one unseen.
func (r *Ring) Seal(entry []byte) []byte {
	id := r.Active().ID
	out := make([]byte, 0, headerBytes+len(entry)+overheadBytes)
	out = append(out, entryMark)
	out = append(out, raw(id)...)
	out = append(out, random(nonceBytes)...)
	return r.open[id].seal(out, out[1+idBytes:headerBytes], entry, out[:1+idBytes])
}

// Open decrypts what Seal made. Errors: ErrUnknownKey, ErrDamaged.
func (r *Ring) Open(sealed []byte) ([]byte, error) { return r.OpenTo(nil, sealed) }

// OpenTo is Open that appends to dst.
func (r *Ring) OpenTo(dst, sealed []byte) ([]byte, error) {
	id, ok := Sealed(sealed)
	if !ok {
		return nil, fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	aead, ok := r.open[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownKey, id)
	}
	out, err := aead.open(dst, sealed[1+idBytes:headerBytes], sealed[headerBytes:], sealed[:1+idBytes])
	if err != nil {
		return nil, fmt.Errorf("%w: under key %s", ErrDamaged, id)
	}
	return out, nil
}

// raw is an ID's bytes.
func raw(id string) []byte {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != idBytes {
		panic(fmt.Sprintf("keyring: the ID %q is malformed", id)) // IDs are ours
	}
	return b
}
