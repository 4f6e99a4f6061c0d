package oci

import (
	"fmt"
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// BenchmarkPod is a sandbox and a container in it, up to its program running; removal is not counted.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	e := n.open()
	for i := range b.N {
		pod := fmt.Sprintf("p%d", i)
		n.start(e, pod, n.spec(pod, "c"+pod, "sleep 1000"))
		b.StopTimer()
		if err := e.RemoveSandbox(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkExec is a probe: the command /bin/true, waited for.
func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	e := n.open()
	n.start(e, "p", n.spec("p", "c", "sleep 1000"))
	for b.Loop() {
		if code, err := e.Exec(b.Context(), "c", runtime.ExecSpec{Args: []string{"true"}}); err != nil || code != 0 {
			b.Fatal(code, err)
		}
	}
}
