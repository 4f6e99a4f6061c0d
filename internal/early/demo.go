package early

import (
	"os"
	"path/filepath"

	"github.com/peapod-sh/peapod/internal/demo"
)

// The embedded image starts this program under the names of its tools. They run from here, before the
// Kubernetes libraries have initialised: that makes the difference between 4 ms and 25 ms for a cat.
func init() {
	if code, handled := demo.Main(filepath.Base(os.Args[0]), os.Args[1:]); handled {
		os.Exit(code)
	}
}
