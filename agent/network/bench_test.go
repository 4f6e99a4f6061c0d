package network

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkAttachDetach gives a pod its network and takes it away again.
func BenchmarkAttachDetach(b *testing.B) {
	n := newSpace(b).start(config(b, "a", "127.0.0.1"), "10.42.0.0/22")
	pod := newSpace(b)
	var attach, detach time.Duration
	for i := range b.N {
		uid := fmt.Sprint("pod-", i)
		t := time.Now()
		n.mustAttach(b, uid, pod)
		attach += time.Since(t)
		t = time.Now()
		must(b, n.Detach(context.Background(), uid))
		detach += time.Since(t)
	}
	b.ReportMetric(float64(attach.Microseconds())/float64(b.N), "µs/attach")
	b.ReportMetric(float64(detach.Microseconds())/float64(b.N), "µs/detach")
}

// BenchmarkDetachMany takes the network away from 50 pods that end at once.
func BenchmarkDetachMany(b *testing.B) {
	const pods = 50
	n := newSpace(b).start(config(b, "a", "127.0.0.1"), "10.42.0.0/22")
	var spaces [pods]*space
	for i := range spaces {
		spaces[i] = newSpace(b)
	}
	for range b.N {
		b.StopTimer()
		for i, s := range spaces {
			n.mustAttach(b, fmt.Sprint("pod-", i), s)
		}
		b.StartTimer()
		var g errgroup.Group
		for i := range spaces {
			g.Go(func() error { return n.Detach(context.Background(), fmt.Sprint("pod-", i)) })
		}
		must(b, g.Wait())
	}
}

// BenchmarkAttachAgain is what an agent's restart costs a pod.
func BenchmarkAttachAgain(b *testing.B) {
	n := newSpace(b).start(config(b, "a", "127.0.0.1"), "10.42.0.0/22")
	pod := newSpace(b)
	for b.Loop() {
		n.mustAttach(b, "pod", pod)
	}
}
