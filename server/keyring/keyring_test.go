package keyring

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var when = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestEntriesOpenUnderTheirOwnRing: whatever was sealed comes back as long as its key is there, by a ring that was stored and read; with the key
// gone, the fault says so and is no other; and one changed bit anywhere is noticed.
func TestEntriesOpenUnderTheirOwnRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := NewRoot()
		ring := must(NewRing(root, when, true))
		plain, sealed := map[string][][]byte{}, map[string][][]byte{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				ring = must(ring.Add(root, when))
			case 1:
				id := rapid.SampledFrom(ring.Keys()).Draw(t, "remove").ID
				next, err := ring.Remove(root, id)
				if (err == nil) == (id == ring.Active().ID) {
					t.Fatalf("removing %s with %s in use: %v", id, ring.Active().ID, err)
				}
				if err == nil {
					ring = next
				}
			default:
				entry := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "entry")
				id := ring.Active().ID
				plain[id], sealed[id] = append(plain[id], entry), append(sealed[id], ring.Seal(entry))
			}
			ring = must(Decode(ring.Encode(), root))
		}
		for id, all := range sealed {
			_, there := ring.open[id]
			for n, s := range all {
				got, err := ring.Open(s)
				if there && (err != nil || !bytes.Equal(got, plain[id][n])) || !there && !errors.Is(err, ErrUnknownKey) {
					t.Fatalf("opening an entry under %s (there: %v): %q, %v", id, there, got, err)
				}
				if by, ok := Sealed(s); !ok || by != id {
					t.Fatalf("an entry under %s says %s, %v", id, by, ok)
				}
				bad := bytes.Clone(s)
				bad[rapid.IntRange(0, len(s)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				if got, err := ring.Open(bad); err == nil {
					t.Fatalf("a changed entry was opened: %q", got)
				}
			}
		}
	})
}

// TestStreamsComeBackOrSaySo: a stream of any length, written in any pieces, comes back whole with the root key alone. One that was cut off, or of which a
// byte was changed, or whose pieces were exchanged, gives nothing but what is true, and then a fault.
func TestStreamsComeBackOrSaySo(t *testing.T) {
	root := NewRoot()
	ring := must(NewRing(root, when, false))
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 100, pieceBytes - 1, pieceBytes, pieceBytes + 1, 3*pieceBytes + 7}).Draw(t, "bytes")
		text := bytes.Repeat([]byte("0123456789abcde"), n/15+1)[:n]
		sealed := sealedStream(ring, text, rapid.IntRange(1, 100_000).Draw(t, "step"))
		if got, err := readAll(sealed, root); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
		}
		bad := sealed[:rapid.IntRange(len(streamMagic), len(sealed)-1).Draw(t, "cut")]
		if rapid.Bool().Draw(t, "change") {
			bad = bytes.Clone(sealed)
			bad[rapid.IntRange(len(streamMagic), len(sealed)-1).Draw(t, "at")] ^= 1
		}
		got, err := readAll(bad, root)
		if err == nil && !bytes.Equal(got, text) || !bytes.HasPrefix(text, got) {
			t.Fatalf("a damaged stream of %d bytes came back as %d, %v", n, len(got), err)
		}
	})
}

func sealedStream(ring *Ring, text []byte, step int) []byte {
	var out bytes.Buffer
	w := must(NewWriter(&out, ring))
	for len(text) > 0 {
		n := min(step, len(text))
		must(w.Write(text[:n]))
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func readAll(sealed []byte, root *Root) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(sealed), root)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestStreamsPiecesStayInTheirPlace: pieces of equal length, of one stream and of two, cannot take each other's place, nor can a stream end
// where a piece does.
func TestStreamsPiecesStayInTheirPlace(t *testing.T) {
	root := NewRoot()
	ring := must(NewRing(root, when, false))
	text := bytes.Repeat([]byte("x"), 3*pieceBytes)
	one, two := sealedStream(ring, text, 1000), sealedStream(ring, text, 1000)
	head := len(streamMagic) + 4 + len(ring.Encode()) + idBytes + streamBytes
	piece := 4 + nonceBytes + pieceBytes + 16
	at := func(b []byte, n int) []byte { return b[head+n*piece : head+(n+1)*piece] }
	for name, bad := range map[string][]byte{
		"exchanged":      bytes.Join([][]byte{one[:head], at(one, 1), at(one, 0), at(one, 2)}, nil),
		"of another one": bytes.Join([][]byte{one[:head], at(one, 0), at(two, 1), at(one, 2)}, nil),
		"left out":       bytes.Join([][]byte{one[:head], at(one, 0), at(one, 2)}, nil),
		"ended early":    one[:head+2*piece],
	} {
		if _, err := readAll(bad, root); !errors.Is(err, ErrDamaged) {
			t.Errorf("a stream with pieces %s: %v", name, err)
		}
	}
	if id := must(StreamKey(bytes.NewReader(one))); id != ring.Active().ID {
		t.Errorf("the stream says that it is under %q", id)
	}
	if got, err := readAll([]byte("as it was"), nil); err != nil || string(got) != "as it was" {
		t.Errorf("a stream from before encryption: %q, %v", got, err)
	}
}

// TestRootKeys: they are kept in a file for its owner only, and a wrong or missing one is told apart from damage.
func TestRootKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if r, err := LoadRoot(path); r != nil || err != nil {
		t.Fatalf("a root key from nowhere: %v, %v", r, err)
	}
	root := NewRoot()
	if err := root.Save(path); err != nil {
		t.Fatal(err)
	}
	info := must(os.Stat(path))
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	ring := must(NewRing(root, when, true))
	if got := must(Decode(ring.Encode(), must(LoadRoot(path)))); got.Active().ID != ring.Active().ID || got.Root() != root.ID() {
		t.Errorf("the ring came back with %v", got.Keys())
	}
	if _, err := Decode(ring.Encode(), nil); !errors.Is(err, ErrNoRoot) {
		t.Errorf("without a root key: %v", err)
	}
	if _, err := Decode(ring.Encode(), NewRoot()); !errors.Is(err, ErrWrongRoot) {
		t.Errorf("with another root key: %v", err)
	}
	other := must(NewRing(root, when, true))
	mixed := strings.ReplaceAll(string(ring.Encode()), ring.Active().ID, other.Active().ID)
	if _, err := Decode([]byte(mixed), root); !errors.Is(err, ErrDamaged) {
		t.Errorf("a key under another one's name: %v", err)
	}
	for _, bad := range []string{"", "not base64!", "c2hvcnQ="} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadRoot(path); err == nil || !strings.Contains(err.Error(), "/dev/urandom") {
			t.Errorf("a root key %q: %v", bad, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	root := NewRoot()
	ring := must(NewRing(root, when, true))
	f.Add(ring.Seal([]byte("entry")))
	f.Add(sealedStream(ring, []byte("stream"), 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ring.Open(b); err == nil && len(got)+headerBytes+16 != len(b) {
			t.Errorf("%d bytes opened to %d", len(b), len(got))
		}
		_, _ = readAll(b, root)
		_, _ = Decode(b, root)
	})
}

func BenchmarkEntry(b *testing.B) {
	ring := must(NewRing(NewRoot(), when, true))
	for name, n := range map[string]int{"1KiB": 1 << 10, "256KiB": 1 << 18} {
		entry := make([]byte, n)
		sealed := ring.Seal(entry)
		b.Run("seal/"+name, func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				ring.Seal(entry)
			}
		})
		b.Run("open/"+name, func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				must(ring.Open(sealed))
			}
		})
	}
}
