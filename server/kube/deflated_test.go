package kube

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"pgregory.net/rapid"
)

func TestPartsAreOneStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange('a', 'c'), 0, 5000), 0, 8).Draw(t, "texts")
		var parts []deflated
		for _, text := range texts {
			p, err := deflate(text)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		var b bytes.Buffer
		g := gzipOf(parts)
		if n, err := g.WriteTo(&b); err != nil || int(n) != g.length || b.Len() != g.length {
			t.Fatalf("%d bytes were written of %d: %v", n, g.length, err)
		}
		z, err := gzip.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		got, err := io.ReadAll(z) // which compares checksum and length
		if err != nil || !bytes.Equal(got, bytes.Join(texts, nil)) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if b.Len() != 0 {
			t.Errorf("%d bytes come after the stream", b.Len())
		}
	})
}
