package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// tallies adds up what Deployments say of their pods. It hears of each change once: asking again and again for a thousand Deployments
// took the processors that were to be measured.
type tallies struct {
	stop func() // ends the watch and waits for it

	mu   sync.Mutex
	of   map[string]tally // by the Deployment's name
	sums tally
}

type tally struct{ pods, ready int }

// followTallies watches the Deployments of namespace default until stop is called or ctx ends.
func followTallies(ctx context.Context, c kubernetes.Interface) *tallies {
	ctx, cancel := context.WithCancel(ctx)
	t := &tallies{of: map[string]tally{}}
	var wg sync.WaitGroup
	wg.Go(func() { t.follow(ctx, c) })
	t.stop = func() { cancel(); wg.Wait() }
	return t
}

// follow begins again when a watch has ended: each begins with all that there are.
func (t *tallies) follow(ctx context.Context, c kubernetes.Interface) {
	for ctx.Err() == nil {
		w, err := c.AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "watching Deployments:", err)
			}
			_ = pause(ctx, 100*time.Millisecond) // it fails when ctx ends, as the loop does
			continue
		}
		for e := range w.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok {
				t.change(d.Name, tally{int(d.Status.Replicas), int(d.Status.ReadyReplicas)})
			}
		}
	}
}

func (t *tallies) change(name string, now tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.of[name]
	t.sums.pods += now.pods - was.pods
	t.sums.ready += now.ready - was.ready
	t.of[name] = now
}

func (t *tallies) sum() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}
