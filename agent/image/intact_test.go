package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// firstFile is a file in a layer.
func firstFile(t *testing.T, dir string) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && found == "" {
			found = p
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file in %s: %v", dir, err)
	}
	return found
}

// flip changes one byte in the middle, and keeps length and time.
func flip(t *testing.T, file string) {
	t.Helper()
	st := must[os.FileInfo](t)(os.Stat(file))
	b := must[[]byte](t)(os.ReadFile(file))
	b[len(b)/2] ^= 1
	if err := errors.Join(os.WriteFile(file, b, 0), os.Chtimes(file, st.ModTime(), st.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to an unpacked layer while nobody looks is found before the layer is used, and mended from its blob, or by a pull.
// Invariant 72.
func TestDamagedLayersAreFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, layer string)
	}{
		{"a byte", func(t *testing.T, layer string) { flip(t, firstFile(t, layer)) }},
		{"a short file", func(t *testing.T, layer string) {
			if err := os.Truncate(firstFile(t, layer), 3); err != nil {
				t.Fatal(err)
			}
		}},
		{"a mode", func(t *testing.T, layer string) {
			if err := os.Chmod(firstFile(t, layer), 0o4777); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file that is gone", func(t *testing.T, layer string) {
			if err := os.Remove(firstFile(t, layer)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file more", func(t *testing.T, layer string) {
			if err := os.WriteFile(filepath.Join(layer, "more"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, blob := range []bool{true, false} {
			t.Run(c.name+map[bool]string{true: ", the blob is whole", false: ", the blob is damaged too"}[blob], func(t *testing.T) {
				testDamage(t, c.damage, blob)
			})
		}
	}
}

func testDamage(t *testing.T, damage func(*testing.T, string), blob bool) {
	h, dir, ctx := newHub(t), t.TempDir(), context.Background()
	h.push(t, "library/a:1", forHere(t, randomImage(t, 2)))
	s := open(t, dir, h.options())
	i := must[*Image](t)(s.Pull(ctx, "a:1", nil, nil))
	good := must[[]byte](t)(os.ReadFile(firstFile(t, i.Layers[1])))
	s.Close()

	s = open(t, dir, h.options())
	if got, ok := s.Get("a:1"); !ok || s.Intact(ctx, got) != nil {
		t.Fatal("an image is damaged by a restart")
	}
	s.Close()
	damage(t, i.Layers[1])
	if !blob {
		flip(t, filepath.Join(dir, "blobs/sha256", i.blobs[len(i.blobs)-1]))
	}

	s = open(t, dir, h.options())
	got, ok := s.Get("a:1")
	if !ok {
		t.Fatal("the image is not known")
	}
	err := s.Intact(ctx, got)
	if (err == nil) != blob {
		t.Fatalf("the blob's soundness is %v: %v", blob, err)
	}
	if _, known := s.Get("a:1"); known != blob {
		t.Errorf("the image is known: %v", known)
	}
	if !blob {
		must[*Image](t)(s.Pull(ctx, "a:1", nil, nil))
	}
	if b := must[[]byte](t)(os.ReadFile(firstFile(t, i.Layers[1]))); !bytes.Equal(b, good) {
		t.Error("the file is not as it was")
	}
	if err := s.Intact(ctx, got); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.Close()
	s = open(t, dir, h.options())
	if got, ok := s.Get("a:1"); !ok || s.Intact(ctx, got) != nil {
		t.Error("after another restart it is damaged")
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, "damaged"))); len(left) != 1 {
		t.Errorf("set aside while containers may run on them: %v", left)
	}
}

// What was unpacked by a version without sums is taken as it is, and looked after from then on.
func TestLayersWithoutASum(t *testing.T) {
	h, dir, ctx := newHub(t), t.TempDir(), context.Background()
	h.push(t, "library/a:1", forHere(t, randomImage(t, 1)))
	s := open(t, dir, h.options())
	i := must[*Image](t)(s.Pull(ctx, "a:1", nil, nil))
	s.Close()
	if err := os.RemoveAll(filepath.Join(dir, "sums")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, h.options())
	if err := s.Intact(ctx, i); err != nil {
		t.Error(err)
	}
	s.Close()
	flip(t, firstFile(t, i.Layers[0]))
	s = open(t, dir, h.options())
	if s.allTrusted(i) {
		t.Error("a layer is trusted that nobody has looked at")
	}
	if err := s.Intact(ctx, i); err != nil {
		t.Error(err)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, "damaged"))); len(left) != 1 {
		t.Error("the damage was not found")
	}
}
