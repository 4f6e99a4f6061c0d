package keyring

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Root wraps the data keys.
type Root struct {
	id     string
	secret []byte // KeyBytes
	aead   *xaes
}

// NewRoot draws a root key.
func NewRoot() *Root {
	r, err := RootOf(random(KeyBytes))
	if err != nil {
		panic(err) // the size is right
	}
	return r
}

// RootOf makes a root key of its KeyBytes bytes.
func RootOf(secret []byte) (*Root, error) {
	aead, err := newAEAD(secret)
	if err != nil {
		return nil, fmt.Errorf("the root key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("peapod root key "), secret...))
	return &Root{id: hex.EncodeToString(sum[:idBytes]), secret: bytes.Clone(secret), aead: aead}, nil
}

// ID names the key and tells nothing of it.
func (r *Root) ID() string { return r.id }

// Secret is the key itself.
func (r *Root) Secret() []byte { return bytes.Clone(r.secret) }

// LoadRoot reads a key from a file, which has it in base64; nil if there is no file.
func LoadRoot(path string) (*Root, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the root key: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, fmt.Errorf("reading the root key in %s: %w (make one with `head -c %d /dev/urandom | base64`)", path, err, KeyBytes)
	}
	r, err := RootOf(secret)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w (make one with `head -c %d /dev/urandom | base64`)", path, err, KeyBytes)
	}
	return r, nil
}

// Save writes the key into a file that only its owner may read. When it returns, the file is on the disk: what is sealed
// under a key is lost without it.
func (r *Root) Save(path string) error {
	text := base64.StdEncoding.EncodeToString(r.secret) + "\n"
	if err := writeDurably(path, []byte(text)); err != nil {
		return fmt.Errorf("writing the root key: %w", err)
	}
	return nil
}

// writeDurably replaces a file; a reader sees the old or the new one whole.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}
