package processors

import (
	"runtime"
	"sync"
)

var own = sync.OnceValue(func() int { return runtime.GOMAXPROCS(0) })

// Own is how many processors the process may use: Go's number when this or Spare was called first.
func Own() int { return own() }

var sparing sync.Mutex

// Spare has Go run goroutines on at least n processors more than the process's own.
func Spare(n int) {
	sparing.Lock()
	defer sparing.Unlock()
	if want := Own() + n; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}
