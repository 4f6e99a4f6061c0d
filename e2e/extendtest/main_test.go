package extendtest

import (
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

func TestMain(m *testing.M) {
	kit.Main(m, kit.Options{Name: "e2eextend", Servers: 3, Clients: 1})
}

// space gives a test a namespace of its own and kubectl in it.
func space(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	return l, l.Kubectl(l.MakeNamespace(t))
}
