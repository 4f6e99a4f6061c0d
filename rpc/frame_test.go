package rpc

import (
	"io"
	"testing"
)

// BenchmarkFrame sends messages of the size of a node's batch of statuses.
func BenchmarkFrame(b *testing.B) {
	message := struct{ Ops []byte }{make([]byte, 240<<10)}
	for b.Loop() {
		if err := writeFrame(io.Discard, frameData, MaxMessageBytes, &message); err != nil {
			b.Fatal(err)
		}
	}
}
