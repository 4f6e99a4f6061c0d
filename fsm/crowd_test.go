package fsm

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/api/ops"
)

// A crowd is woken at intervals. Each of it must see every change, in order, the last one too, after which nobody wakes it again.
func TestACrowdSeesEveryChange(t *testing.T) {
	const changes = 300
	f := New()
	cursors := make([]*Cursor, 2*crowdMin)
	for i := range cursors {
		var err error
		if cursors[i], err = f.Watch(configMaps, f.Revision()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range cursors {
		wg.Go(func() {
			for seen := 0; seen < changes; {
				batch, err := c.Next(ctx)
				if err != nil {
					t.Errorf("after %d changes: %v", seen, err)
					return
				}
				for _, change := range batch {
					if want := fmt.Sprintf("m%d", seen); change.Name != want {
						t.Errorf("change %d is of %s, want %s", seen, change.Name, want)
						return
					}
					seen++
				}
			}
		})
	}
	for i := range changes {
		m := configMap(fmt.Sprintf("m%d", i), "v")
		f.ApplyOps(uint64(i+1), []ops.Op{&ops.Put{Resource: configMaps, Object: m, Expect: ops.Absent}})
	}
	wg.Wait()
}

func TestOnlyCrowdsAreMadeToWait(t *testing.T) {
	for woken, want := range map[int64]time.Duration{0: 0, 1: 0, crowdMin - 1: 0, crowdMin: crowdMin * wakeCost, 1_000_000: notifyRestMax} {
		if got := restAfter(woken); got != want {
			t.Errorf("after %d woken: a rest of %v, want %v", woken, got, want)
		}
	}
}
