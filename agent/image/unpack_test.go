package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// entry is a tar header with content, for tables.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}, body}
}
func dir(name string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}
func symlink(name, to string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, ""}
}
func hardlink(name, to string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, ""}
}

func stream(t testing.TB, entries ...entry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	w.Close() // an unfinished entry is one of the cases
	return &b
}

func TestUnpackKeepsEverything(t *testing.T) {
	at := t.TempDir()
	suid := file("bin/su", "x")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 7, 8
	suid.PAXRecords = map[string]string{xattrPrefix + "user.note": "hi", xattrPrefix + "trusted.overlay.redirect": "/etc"}
	err := unpack(at, stream(t, dir("bin"), suid, hardlink("bin/alias", "bin/su"), symlink("link", "/bin/su"),
		file("gone/.wh.old", ""), dir("new"), file("new/.wh..wh..opq", ""), file("abs/../x", "y")), Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Lstat(at+"/bin/su", &a), unix.Lstat(at+"/bin/alias", &b)); err != nil {
		t.Fatal(err)
	}
	if a.Ino != b.Ino || a.Mode&0o7777 != 0o4755 || a.Uid != 7 || a.Gid != 8 {
		t.Errorf("su is %+v, alias %+v", a, b)
	}
	v := make([]byte, 10)
	if n, err := unix.Lgetxattr(at+"/bin/su", "user.note", v); err != nil || string(v[:n]) != "hi" {
		t.Errorf("user.note: %q %v", v, err)
	}
	if _, err := unix.Lgetxattr(at+"/bin/su", "trusted.overlay.redirect", v); err == nil {
		t.Error("a layer may set overlayfs' attributes")
	}
	if err := unix.Lstat(at+"/gone/old", &a); err != nil || a.Mode&unix.S_IFMT != unix.S_IFCHR || a.Rdev != 0 {
		t.Errorf("the whiteout is %+v, %v", a, err)
	}
	if !opaque(at + "/new") {
		t.Error("the directory is not opaque")
	}
}

func TestUnpackRefusesHostileLayers(t *testing.T) {
	huge := file("f", "x")
	huge.Size = 1 << 60
	device := entry{tar.Header{Name: "d", Typeflag: tar.TypeChar}, ""}
	for name, tt := range map[string]struct {
		entries []entry
		want    error
	}{
		"parent":            {[]entry{file("../f", "x")}, ErrHostile},
		"deep parent":       {[]entry{file("a/../../f", "x")}, ErrHostile},
		"absolute parent":   {[]entry{file("/../f", "x")}, ErrHostile},
		"hard link out":     {[]entry{hardlink("f", "../../etc/passwd")}, ErrHostile},
		"hard link lost":    {[]entry{hardlink("f", "etc/none")}, ErrHostile},
		"whiteout of dots":  {[]entry{file("a/.wh...", "")}, ErrHostile},
		"huge":              {[]entry{huge}, ErrLimit},
		"whiteout device":   {[]entry{device}, ErrHostile},
		"file as directory": {[]entry{file("a", ""), file("a/b", "")}, ErrHostile},
	} {
		t.Run(name, func(t *testing.T) {
			err := unpack(t.TempDir(), stream(t, tt.entries...), Limits{}.withDefaults())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestUnpackStopsAtItsLimits(t *testing.T) {
	err := unpack(t.TempDir(), stream(t, file("a", ""), file("b", "")), Limits{LayerEntries: 1, LayerBytes: 9})
	if !errors.Is(err, ErrLimit) {
		t.Errorf("entries: %v", err)
	}
	err = unpack(t.TempDir(), stream(t, file("a", "12345"), file("b", "12345")), Limits{LayerEntries: 9, LayerBytes: 9})
	if !errors.Is(err, ErrLimit) {
		t.Errorf("bytes: %v", err)
	}
}

// Whatever a layer does with names and links, nothing outside its directory changes.
// Invariant 25.
func TestUnpackNeverLeavesItsDirectory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		outer, err := os.MkdirTemp("", "unpack-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(outer)
		victim := filepath.Join(outer, "victim")
		if err := errors.Join(os.Mkdir(victim, 0o700), os.WriteFile(victim+"/f", []byte("safe"), 0o600), os.Mkdir(outer+"/in", 0o700)); err != nil {
			t.Fatal(err)
		}
		names := rapid.SampledFrom([]string{"a", "b", "a/b", "a/f", "b/f", "../victim/f", "a/../../victim/f", victim + "/f", "a/victim/f", "b/a/f", "./a", "a/.wh.f", "a/.wh..wh..opq"})
		targets := rapid.SampledFrom([]string{"..", "../victim", victim, outer, "/", "a", "b", "../..", "../victim/f", victim + "/f", "/proc/self/root"})
		var entries []entry
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			name := names.Draw(t, "name")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				entries = append(entries, file(name, "evil"))
			case 1:
				entries = append(entries, dir(name))
			case 2:
				entries = append(entries, symlink(name, targets.Draw(t, "to")))
			case 3:
				entries = append(entries, hardlink(name, targets.Draw(t, "to")))
			}
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			if err := w.WriteHeader(&e.Header); err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, e.body)
		}
		w.Close()
		_ = unpack(outer+"/in", &b, Limits{}.withDefaults()) // may refuse
		got, err := os.ReadFile(victim + "/f")
		if err != nil || string(got) != "safe" {
			t.Fatalf("the victim is %q, %v", got, err)
		}
		st, err := os.Stat(victim)
		if err != nil || st.Mode().Perm() != 0o700 || opaque(victim) {
			t.Fatalf("the victim's directory changed: %v %v", st, err)
		}
		var kids []string
		found, _ := os.ReadDir(outer)
		for _, f := range found {
			kids = append(kids, f.Name())
		}
		if strings.Join(kids, " ") != "in victim" {
			t.Fatalf("outside are %v", kids)
		}
	})
}
