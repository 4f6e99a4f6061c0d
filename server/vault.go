package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/keyring"
)

const (
	// rootFile is where a server has the root key, unless it was told of another file.
	rootFile = "root.key"
	// rootNameFile says which root key this server goes by, so that the key's loss is noticed for what it is.
	rootNameFile = "root.id"
)

// errStaleKey means that a write was sealed under a key that was removed before it; it was not made.
var errStaleKey = fmt.Errorf("%w: the keyring has changed", errNotLeader)

// vault seals what this server writes to its disk, by the keyring that the state has.
type vault struct {
	state *fsm.FSM
	file  string // of the root key
	names string // file of the root key's ID
	given bool   // the file is somebody else's: the key is not handed out
	root  atomic.Pointer[keyring.Root]
	plain []byte // of the entry that was opened last

	mu sync.Mutex
	// Guarded by mu.
	encoded []byte // as in the state
	opened  *keyring.Ring
}

// openVault finds the root key. A server that has had one does not start without it.
func openVault(cfg Config, p *Passport, state *fsm.FSM) (*vault, error) {
	v := &vault{state: state, file: cfg.RootKeyFile, names: filepath.Join(cfg.DataDir, rootNameFile), given: cfg.RootKeyFile != ""}
	if !v.given {
		v.file = filepath.Join(cfg.DataDir, rootFile)
	}
	root, err := keyring.LoadRoot(v.file)
	if err != nil {
		return nil, err
	}
	if root == nil && p.Root != nil && !v.given {
		if root, err = keyring.RootOf(p.Root); err != nil {
			return nil, err
		}
		if err := root.Save(v.file); err != nil {
			return nil, err
		}
	}
	if p.Root != nil {
		p.Root = nil
		if err := p.Save(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	return v, v.adopt(root, p.RootID)
}

// adopt takes a root key, unless another one was in use here. joined is the ID of the cluster's, if this server was told when it joined.
func (v *vault) adopt(root *keyring.Root, joined string) error {
	want := joined
	b, err := os.ReadFile(v.names)
	switch {
	case err == nil:
		want = strings.TrimSpace(string(b))
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("reading which root key is in use: %w", err)
	}
	if root == nil && want == "" && !v.given {
		return nil // it is of a cluster that does not have one yet
	}
	if err := v.fits(root, want); err != nil {
		return err
	}
	if err := os.WriteFile(v.names, []byte(root.ID()+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting which root key is in use: %w", err)
	}
	v.root.Store(root)
	return nil
}

// fits says what is wrong with a root key, if it should have the ID want, or any if that is "".
func (v *vault) fits(root *keyring.Root, want string) error {
	switch {
	case root == nil && want == "":
		return fmt.Errorf("the file %s, which is to have the root key, is not there; for a new cluster make one with `head -c %d /dev/urandom | base64`", v.file, keyring.KeyBytes)
	case root == nil:
		return fmt.Errorf("the root key %s is not there, and without it nothing of this server's log can be read: it should be in %s; "+
			"copy the file from another server or a backup, or name it with --root-key-file", want, v.file)
	case want != "" && root.ID() != want:
		return fmt.Errorf("the root key in %s is %s, but this server's log needs %s; copy that one from another server or a backup, or name it with --root-key-file",
			v.file, root.ID(), want)
	}
	return nil
}

// install keeps a root key that another server has, or a new one, unless this server has one already.
func (v *vault) install(root *keyring.Root) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.root.Load() != nil || v.given {
		return nil
	}
	if err := root.Save(v.file); err != nil {
		return err
	}
	return v.adopt(root, "")
}

// handOut is what a joining server is told of the root key: nothing but its ID if it is to bring it itself.
func (v *vault) handOut() (secret []byte, id string) {
	root := v.root.Load()
	if root == nil {
		return nil, ""
	}
	if !v.given {
		secret = root.Secret()
	}
	return secret, root.ID()
}

// ring is the keyring that the state has now; nil before there is one.
func (v *vault) ring() (*keyring.Ring, error) {
	b, ok := v.state.Meta(metaKeyring)
	if !ok {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened != nil && bytes.Equal(v.encoded, b) {
		return v.opened, nil
	}
	ring, err := keyring.Decode(b, v.root.Load())
	if err != nil {
		return nil, fmt.Errorf("%w; it should be in %s: copy it from another server", err, v.file)
	}
	v.encoded, v.opened = b, ring
	return ring, nil
}

// seal is what may go into the log. Whoever cannot open the keyring has no state and does not lead.
func (v *vault) seal(entry []byte) []byte {
	ring, err := v.ring()
	if err != nil {
		panic(fmt.Sprintf("server: sealing an entry: %v", err)) // it was opened when it was applied
	}
	if ring == nil {
		return entry
	}
	return ring.Seal(entry)
}

// open is what seal was given. It is good until the next call, and only raft's goroutine of the state may call: an entry is as large as a
// quarter of a megabyte, and to have fresh memory for each costs more than to decrypt it.
func (v *vault) open(entry []byte) (plain []byte, err error) {
	if _, sealed := keyring.Sealed(entry); !sealed {
		return entry, nil
	}
	ring, err := v.ring()
	if err != nil {
		return nil, err
	}
	if ring == nil {
		return nil, keyring.ErrUnknownKey
	}
	if plain, err = ring.OpenTo(v.plain[:0], entry); err == nil {
		v.plain = plain
	}
	return plain, err
}

// unseal reads a snapshot, which has its own keyring with it.
func (v *vault) unseal(in io.Reader) (io.Reader, error) {
	plain, err := keyring.NewReader(in, v.root.Load())
	if errors.Is(err, keyring.ErrNoRoot) || errors.Is(err, keyring.ErrWrongRoot) {
		return nil, fmt.Errorf("%w; it should be in %s: copy it from another server", err, v.file)
	}
	return plain, err
}

// writeSealed writes a view of the state, under the ring if there is one.
func writeSealed(out io.Writer, view *fsm.View, ring *keyring.Ring) error {
	if ring == nil {
		_, err := view.WriteTo(out)
		return err
	}
	w, err := keyring.NewWriter(out, ring)
	if err != nil {
		return err
	}
	if _, err := view.WriteTo(w); err != nil {
		return err
	}
	return w.Close()
}

// peeker opens entries of the log beside the state, in their order, with the keyrings that it meets on the way.
type peeker struct {
	vault *vault
	ring  *keyring.Ring
}

func (v *vault) peek() *peeker {
	ring, err := v.ring()
	if err != nil {
		ring = nil // whoever applies the log will say so
	}
	return &peeker{vault: v, ring: ring}
}

func (p *peeker) open(entry []byte) ([]byte, error) {
	if _, sealed := keyring.Sealed(entry); !sealed {
		return entry, nil
	}
	if p.ring == nil {
		return nil, keyring.ErrUnknownKey
	}
	return p.ring.Open(entry)
}

// turn goes on with another keyring.
func (p *peeker) turn(encoded []byte) {
	if ring, err := keyring.Decode(encoded, p.vault.root.Load()); err == nil {
		p.ring = ring
	}
}
