package rpc

import (
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
)

// guard runs a handler. One that panics has met a fault of this program: it is logged with its stack, the caller hears an error, and
// everything else goes on, as with net/http's handlers. A handler's locks must be released by defer.
func guard(log hclog.Logger, method string, from fmt.Stringer, run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a handler panicked", "method", method, "from", from.String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = Errorf(CodeInternal, "%s has met a fault of the program; its log says more", method)
		}
	}()
	return run()
}
