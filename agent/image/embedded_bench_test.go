package image

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkEnsureEmbedded prints what the embedded image costs a start: with an executable of 80 MB
// linked, copied from another file system, and already there.
func BenchmarkEnsureEmbedded(b *testing.B) {
	for name, from := range map[string]string{"link": b.TempDir(), "copy": "/dev/shm"} {
		exe := filepath.Join(from, "embedded-bench")
		if err := os.WriteFile(exe, make([]byte, 80<<20), 0o755); err != nil {
			b.Fatal(err)
		}
		defer os.Remove(exe)
		e := Demo()
		e.Executable = exe
		run := func(b *testing.B, dir string) {
			s, err := Open(dir, Options{Embedded: e})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, err := s.EnsureEmbedded(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("first/"+name, func(b *testing.B) {
			for b.Loop() {
				run(b, b.TempDir())
			}
		})
		b.Run("again/"+name, func(b *testing.B) {
			dir := b.TempDir()
			run(b, dir)
			for b.Loop() {
				run(b, dir)
			}
		})
	}
}
