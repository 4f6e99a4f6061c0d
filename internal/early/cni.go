package early

import (
	"os"

	"github.com/peapod-sh/peapod/internal/cni"
)

// A container runtime starts this program as the network plugin of each of its sandboxes.
func init() {
	if code, handled := cni.Main(os.Args[0], os.Getenv, os.Stdin, os.Stdout); handled {
		os.Exit(code)
	}
}
