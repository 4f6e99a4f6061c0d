package dnstest

import (
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

// Resolvers run in each node's own network, on its loopback: a usual one, and one of a stub domain.
const (
	usual = "127.0.0.1:5301"
	stub  = "127.0.0.1:5302"
)

func TestMain(m *testing.M) {
	kit.Main(m, kit.Options{Name: "e2edns", Servers: 1, Clients: 1,
		Args: []string{"--client-arg=--dns-upstream=" + usual, "--client-arg=--dns-stub=corp.example=" + stub}})
}
