package processors

import (
	"runtime"
	"testing"
)

// What is spared is added to the process's own processors once, whoever asks for it and how often, and never taken away.
func TestSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, c := range []struct{ spare, want int }{{2, 2}, {2, 2}, {1, 2}, {3, 3}} {
		if Spare(c.spare); Own() != before || runtime.GOMAXPROCS(0) != before+c.want {
			t.Errorf("with %d to spare there are %d of %d's own, want %d more", c.spare, runtime.GOMAXPROCS(0), Own(), c.want)
		}
	}
}
