package server

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/server/keyring"
)

// unlikely is text that is nowhere by chance, and that no compression makes shorter.
func unlikely() []byte {
	b := make([]byte, 48)
	_, _ = rand.Read(b)
	return b
}

// onDisk names the files below a directory that have one of the values, as they are or in base64 or hexadecimal.
func onDisk(t *testing.T, dir string, values ...[]byte) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil // a snapshot is renamed when it is whole; others go
		}
		b, err := os.ReadFile(path)
		if hasAny(b, values) {
			found = append(found, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// hasAny says whether a file's content, also once it is decompressed, has one of the values.
func hasAny(content []byte, values [][]byte) bool {
	z, err := zstd.NewReader(bytes.NewReader(content))
	if err != nil {
		panic(err) // there are no options
	}
	defer z.Close()
	if inflated, err := io.ReadAll(z); err == nil {
		content = inflated
	}
	for _, v := range values {
		for _, form := range [][]byte{v, []byte(base64.StdEncoding.EncodeToString(v)), []byte(hex.EncodeToString(v))} {
			if bytes.Contains(content, form) {
				return true
			}
		}
	}
	return false
}

// secretsOfCluster are those in the state that the API does not show.
func secretsOfCluster(t *testing.T, s *Server) [][]byte {
	t.Helper()
	var ca pki.Pair
	b, _ := s.state.Meta(metaCA)
	if err := json.Unmarshal(b, &ca); err != nil {
		t.Fatal(err)
	}
	signing, err := s.tokenKeys()
	if err != nil {
		t.Fatal(err)
	}
	return append(signing, ca.Key)
}

func writeSecret(t *testing.T, s *testServer, name string, value []byte) {
	t.Helper()
	_, err := s.client().CoreV1().Secrets("default").Create(within(t, 20*time.Second),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"value": value}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("writing the Secret %s: %v", name, err)
	}
}

func hasSecret(t *testing.T, s *testServer, name string, value []byte) {
	t.Helper()
	got, err := s.client().CoreV1().Secrets("default").Get(within(t, 20*time.Second), name, metav1.GetOptions{})
	if err != nil || !bytes.Equal(got.Data["value"], value) {
		t.Fatalf("reading the Secret %s on %s: %v, %v", name, s.name, got, err)
	}
}

// onLeader does something on whoever leads, again if that is another one by now.
func onLeader(t *testing.T, all []*testServer, do func(*Server) error) (err error) {
	t.Helper()
	eventually(t, "the leader does it", func() error {
		leader, _ := leaderOf(t, all)
		if err = do(leader.server); err != nil && (strings.Contains(err.Error(), "only the leader") || errors.Is(err, ErrUnknownOutcome)) {
			return err
		}
		return nil
	})
	return err
}

func rotated(t *testing.T, all []*testServer) (old, now string) {
	t.Helper()
	err := onLeader(t, all, func(s *Server) error {
		before, err := s.vault.ring()
		if err != nil {
			return err
		}
		old = before.Active().ID
		now, err = s.rotate(within(t, 20*time.Second), keyForDisk)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return old, now
}

// resealLimit is long, since servers wait for a moment in which nobody writes, and then sync several files.
const resealLimit = 3 * time.Minute

func allUnder(t *testing.T, all []*testServer, key string) {
	t.Helper()
	eventuallyIn(t, resealLimit, "all that is on disk is under "+key, func() error {
		for _, s := range all {
			if late := s.server.pending(within(t, 10*time.Second), key); len(late) > 0 {
				return fmt.Errorf("%s says that it is not on %v", s.name, late)
			}
		}
		return nil
	})
}

// TestSecretsAreNotOnDisk: neither the log nor a snapshot of any server has a Secret's value, the CA's key or a signing key in any form, before and after
// a rotation, the old key's removal and restarts; and all of it is still there for those who may read it. Invariants 193 and 195.
func TestSecretsAreNotOnDisk(t *testing.T) {
	all := newCluster3(t)
	value, later := unlikely(), unlikely()
	writeSecret(t, all[0], "one", value)
	leader, _ := leaderOf(t, all)
	hidden := append(secretsOfCluster(t, leader.server), value, later)
	clean := func(when string) {
		t.Helper()
		for _, s := range all {
			if found := onDisk(t, s.dir, hidden...); len(found) > 0 {
				t.Fatalf("%s: secrets are in plain text in %v", when, found)
			}
		}
	}
	for _, s := range all {
		eventually(t, "a snapshot of "+s.name, func() error { return s.server.snapshotNow("") })
	}
	clean("at first")
	var plain bytes.Buffer
	if _, err := leader.server.state.View().WriteTo(&plain); err != nil || !hasAny(plain.Bytes(), hidden) {
		t.Fatalf("an unencrypted snapshot does not have the value, so this test shows nothing (%v)", err)
	}
	var saved bytes.Buffer
	if err := leader.server.writeCopy(&saved); err != nil || hasAny(saved.Bytes(), hidden) {
		t.Fatalf("the state that is saved for the operator has the value, or: %v", err)
	}

	old, now := rotated(t, all)
	writeSecret(t, all[1], "two", later)
	allUnder(t, all, now)
	clean("after a rotation")
	remove := func(id string) error {
		return onLeader(t, all, func(s *Server) error { return s.removeKey(within(t, 20*time.Second), id) })
	}
	if err := remove(now); err == nil || !strings.Contains(err.Error(), "rotate first") {
		t.Errorf("removing the key in use: %v", err)
	}
	if err := remove(old); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		s.stop()
	}
	clean("while all are stopped")
	for _, s := range all {
		s.start()
	}
	for _, s := range all {
		hasSecret(t, s, "one", value)
		hasSecret(t, s, "two", later)
	}
	clean("after a restart")
	allUnder(t, all, now)
}

// TestRotationsEndWhatever: servers that stop in the middle of rotations, leaders too, come back with everything, and all comes under the last key. Invariant 195.
func TestRotationsEndWhatever(t *testing.T) {
	all := newCluster3(t)
	value := unlikely()
	writeSecret(t, all[0], "one", value)
	var now string
	for round := range 2 {
		_, now = rotated(t, all)
		leader, others := leaderOf(t, all)
		stopped := leader
		if round == 1 {
			stopped = others[0]
		}
		stopped.stop()
		writeSecret(t, others[1], fmt.Sprint("during-", round), value)
		stopped.start()
	}
	allUnder(t, all, now)
	for _, s := range all {
		hasSecret(t, s, "one", value)
		hasSecret(t, s, "during-1", value)
		if found := onDisk(t, s.dir, value); len(found) > 0 {
			t.Errorf("the value is in %v", found)
		}
	}
	leader, others := leaderOf(t, all)
	ring, err := leader.server.vault.ring()
	if err != nil || len(ring.Keys()) != 3 {
		t.Fatalf("the keyring is %v, %v", ring, err)
	}
	others[0].stop()
	err = onLeader(t, all, func(s *Server) error { return s.removeKey(within(t, 20*time.Second), ring.Keys()[0].ID) })
	if err == nil || !strings.Contains(err.Error(), others[0].name) {
		t.Errorf("a key was removed without asking %s: %v", others[0].name, err)
	}
}

// TestWithoutRootKey: a server that has lost its root key, or has another one, says so and does not start; with the key it does.
func TestWithoutRootKey(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	value := unlikely()
	writeSecret(t, s, "one", value)
	s.stop()
	path := filepath.Join(s.dir, rootFile)
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		passport, err := LoadPassport(s.dir)
		if err != nil {
			return err
		}
		_, err = openVault(Config{DataDir: s.dir}, passport, fsm.New())
		return err
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "is not there") || !strings.Contains(err.Error(), path) {
		t.Errorf("without a root key: %v", err)
	}
	if err := keyring.NewRoot().Save(path); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "needs") {
		t.Errorf("with another root key: %v", err)
	}
	if err := os.WriteFile(path, right, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	hasSecret(t, s, "one", value)
}

// lonely is a stream layer of a server that nobody calls.
type lonely struct{ net.Listener }

func (lonely) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, errors.New("there is nobody")
}

func listenLonely(t testing.TB) lonely {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lonely{l}
}

// olderDirectory is what the version before encryption left behind: a snapshot and a log in plain text.
func olderDirectory(t *testing.T, s *testServer, value []byte) {
	t.Helper()
	passport, err := Found(Config{Name: s.name, DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	state := fsm.New()
	c, err := openConsensus(consensusConfig{name: s.name, dir: s.dir, bootstrap: true, state: state, vault: &vault{state: state}, layer: listenLonely(t), logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leads", func() error { return c.verify() })
	secret := func(name string) ops.Op {
		return &ops.Put{Resource: schema.GroupResource{Resource: "secrets"}, Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "u-1"}, Data: map[string][]byte{"value": value}}}
	}
	write := func(list ...ops.Op) {
		entry, err := ops.Encode(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(entry, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	write(&ops.PutMeta{Key: metaCA, Value: mustJSON(passport.Genesis)}, &ops.PutMeta{Key: metaGossip, Value: passport.GossipKey},
		&ops.PutMeta{Key: metaNetwork, Value: mustJSON(DefaultNetwork())}, secret("one"))
	if err := c.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	write(secret("two"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	passport.Genesis, passport.Root = nil, nil
	if err := passport.Save(s.dir); err != nil {
		t.Fatal(err)
	}
}

// TestPlainDirectoryIsSealed: the directory of a version that did not encrypt is taken over, and after a while no plain text is left in it. Who joins then
// is given the root key.
func TestPlainDirectoryIsSealed(t *testing.T) {
	s, value := newTestServer(t, "a"), unlikely()
	olderDirectory(t, s, value)
	files := strings.Join(onDisk(t, s.dir, value), " ")
	if !strings.Contains(files, ".wal") || !strings.Contains(files, "state.bin") {
		t.Fatalf("the older directory has the value only in %q", files)
	}
	s.start()
	hasSecret(t, s, "one", value)
	hasSecret(t, s, "two", value)
	eventuallyIn(t, resealLimit, "the plain text is gone", func() error {
		if found := onDisk(t, s.dir, value); len(found) > 0 {
			return fmt.Errorf("it is in %v", found)
		}
		return nil
	})
	token, err := s.server.CreateToken(within(t, 10*time.Second), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b := newTestServer(t, "b")
	b.join, b.token = []string{s.rpc}, token
	b.start()
	hasSecret(t, b, "two", value)
	if found := onDisk(t, b.dir, value); len(found) > 0 {
		t.Errorf("the server that joined has it in %v", found)
	}
}

// TestRootKeyIsShared: servers that have none are given the leader's, or the leader takes theirs; and one with a key of its own is named.
func TestRootKeyIsShared(t *testing.T) {
	all := newCluster3(t)
	leader, others := leaderOf(t, all)
	forget := func(s *testServer) {
		s.server.vault.root.Store(nil)
		for _, f := range []string{rootFile, rootNameFile} {
			if err := os.Remove(filepath.Join(s.dir, f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := leader.server.vault.root.Load().ID()
	for _, s := range []*testServer{others[0], leader} {
		forget(s)
		root, err := leader.server.shareRoot(within(t, 20*time.Second))
		if err != nil || root.ID() != want {
			t.Fatalf("the root key is %v, %v", root, err)
		}
		if kept, err := keyring.LoadRoot(filepath.Join(s.dir, rootFile)); err != nil || kept.ID() != want {
			t.Errorf("%s kept %v, %v", s.name, kept, err)
		}
	}
	right := others[1].server.vault.root.Swap(keyring.NewRoot())
	if _, err := leader.server.shareRoot(within(t, 20*time.Second)); err == nil || !strings.Contains(err.Error(), "server "+others[1].name) {
		t.Errorf("a server with another root key: %v", err)
	}
	others[1].server.vault.root.Store(right)
}

// TestWritesUnderARemovedKeyAreRefused: a leader that has not heard of a key's removal may seal under it. Nobody can open that
// entry, all know it, and the write is made again. Invariant 194.
func TestWritesUnderARemovedKeyAreRefused(t *testing.T) {
	root := keyring.NewRoot()
	state := fsm.New()
	v := &vault{state: state}
	v.root.Store(root)
	r := replica{state, v}
	put := func(index uint64, ring *keyring.Ring, key string, value []byte) any {
		entry, err := ops.Encode([]ops.Op{&ops.PutMeta{Key: key, Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		if ring != nil {
			entry = ring.Seal(entry)
		}
		return r.Apply(&raft.Log{Type: raft.LogCommand, Index: index, Data: entry})
	}
	one, err := keyring.NewRing(root, time.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	two, err := one.Add(root, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	three, err := two.Remove(root, one.Active().ID)
	if err != nil {
		t.Fatal(err)
	}
	put(1, nil, metaKeyring, one.Encode())
	put(2, one, metaKeyring, two.Encode())
	put(3, one, "a", []byte("late, but its key is there"))
	put(4, two, metaKeyring, three.Encode())
	if got, is := put(5, one, "b", []byte("too late")).(error); !is || !errors.Is(got, errNotLeader) {
		t.Errorf("an entry under a removed key: %v", got)
	}
	put(6, three, "c", []byte("again"))
	for key, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, there := state.Meta(key); there != want {
			t.Errorf("%s is there: %v", key, there)
		}
	}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "damaged") {
			t.Errorf("a damaged entry: %s", said)
		}
	}()
	bad := three.Seal([]byte("x"))
	bad[len(bad)-1] ^= 1
	r.Apply(&raft.Log{Type: raft.LogCommand, Index: 7, Data: bad})
}
