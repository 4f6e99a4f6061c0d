package volume

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// shown reads what a user of the volume sees.
func shown(t interface{ Fatal(...any) }, dir string) map[string]string {
	out := map[string]string{}
	var walk func(rel string)
	walk = func(rel string) {
		list, err := os.ReadDir(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			name := filepath.Join(rel, e.Name())
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if st.IsDir() {
				walk(name)
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(b)
		}
	}
	walk("")
	return out
}

// After any sequence of writes the volume shows the last set of files and nothing else, and keeps one directory of data.
func TestWriteShowsTheLastSet(t *testing.T) {
	names := []string{"a", "b", "dir/c", "dir/sub/d", "e.conf"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "volume-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for range rapid.IntRange(1, 6).Draw(rt, "writes") {
			want := map[string]string{}
			files := map[string]File{}
			for _, n := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(rt, "names") {
				want[n] = rapid.SampledFrom([]string{"x", "y", ""}).Draw(rt, "content")
				files[n] = File{Data: []byte(want[n]), Mode: 0o640}
			}
			before, _ := os.Readlink(filepath.Join(dir, dataLink))
			had := before != "" && maps.Equal(shown(rt, dir), want)
			changed, err := Write(dir, files, -1)
			if err != nil {
				rt.Fatal(err)
			}
			if changed == had {
				rt.Fatalf("changed is %v, but it had the files: %v", changed, had)
			}
			if got := shown(rt, dir); !maps.Equal(got, want) {
				rt.Fatalf("shows %v, want %v", got, want)
			}
		}
		kept, _ := filepath.Glob(filepath.Join(dir, "..2*"))
		if len(kept) != 1 {
			rt.Fatalf("keeps %v", kept)
		}
	})
}

func TestWriteModesAndEscapes(t *testing.T) {
	dir := t.TempDir()
	if _, err := Write(dir, map[string]File{"f": {Data: []byte("x"), Mode: 0o400}}, 2000); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o440 {
		t.Errorf("mode %v, want 0440 with an fsGroup", st.Mode())
	}
	for _, bad := range []string{"../x", "/etc/x", "..data", "a/../../b"} {
		if _, err := Write(dir, map[string]File{bad: {}}, -1); err == nil {
			t.Errorf("%q was written", bad)
		}
	}
}

// TestReaderSeesOneSetOrTheOther: Invariant 24.
func TestReaderSeesOneSetOrTheOther(t *testing.T) {
	dir := t.TempDir()
	set := func(v string) map[string]File {
		return map[string]File{"a": {Data: []byte(v), Mode: 0o644}, "b": {Data: []byte(v), Mode: 0o644}}
	}
	if _, err := Write(dir, set("0"), -1); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		var err error
		for i := range 200 {
			if _, err = Write(dir, set(string(rune('0'+i%2))), -1); err != nil {
				break
			}
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		target, err := os.Readlink(filepath.Join(dir, dataLink))
		if err != nil {
			t.Fatal(err)
		}
		a, errA := os.ReadFile(filepath.Join(dir, target, "a"))
		b, errB := os.ReadFile(filepath.Join(dir, target, "b"))
		if errA == nil && errB == nil && !slices.Equal(a, b) {
			t.Fatalf("half of a set: %s %s", a, b)
		}
	}
}

func TestSubPathStaysInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"..", "../x", "out", "out/passwd", "/etc"} {
		if p, err := subPath(dir, bad); err == nil {
			t.Errorf("%q leads to %s", bad, p)
		}
	}
	p, err := subPath(dir, "x/y")
	if err != nil || p != filepath.Join(dir, "x/y") {
		t.Errorf("x/y: %s, %v", p, err)
	}
}
