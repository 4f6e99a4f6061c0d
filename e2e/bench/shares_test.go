package main

import "testing"

func TestShareOfAStack(t *testing.T) {
	for want, stack := range map[string][]string{
		"garbage collection":              {"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"},
		"fsync":                           {"syscall.Fsync", "os.(*File).Sync", "github.com/hashicorp/raft-wal/segment.(*Writer).sync"},
		"managed fields":                  {"runtime.mallocgc", "sigs.k8s.io/structured-merge-diff/v6/typed.Merge", "net/http.(*conn).serve"},
		"raft, replication and the state": {"crypto/tls.(*Conn).Write", "github.com/hashicorp/yamux.(*Session).sendLoop"},
		"HTTP and TLS":                    {"crypto/tls.(*Conn).Write", "net/http.checkConnErrorWriter.Write", "k8s.io/apiserver/pkg/endpoints/handlers.f", "net/http.(*conn).serve"},
		"handlers and storage":            {"runtime.mapassign", "k8s.io/apiserver/pkg/endpoints/handlers.f", "net/http.(*conn).serve"},
		otherShare:                        {"runtime.futex", "runtime.schedule"},
	} {
		if got := shareOf(stack); got != want {
			t.Errorf("%v is %q, want %q", stack, got, want)
		}
	}
}
