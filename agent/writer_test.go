package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// picky refuses writes about some pods or events, and cannot be reached for a while.
type picky struct {
	refuse map[string]bool
	most   int // ops' rows in one write; 0 is no bound
	down   int // writes that do not arrive

	mu     sync.Mutex
	got    []string
	writes int
}

func (p *picky) Get(context.Context, string, string, string) ([]byte, bool, error) {
	return nil, false, nil
}

func (p *picky) Write(_ context.Context, list []ops.Op) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	if p.writes <= p.down {
		return errors.New("no servers")
	}
	names := said(list)
	if p.most > 0 && len(names) > p.most {
		return fmt.Errorf("too large: %w", ops.ErrRefused)
	}
	for _, n := range names {
		if p.refuse[n] {
			return fmt.Errorf("%s: %w", n, ops.ErrRefused)
		}
	}
	p.got = append(p.got, names...)
	return nil
}

// said are the names of what a write is about.
func said(list []ops.Op) (names []string) {
	for _, op := range list {
		switch op := op.(type) {
		case *ops.PodStatuses:
			for _, r := range op.Rows {
				names = append(names, r.Name)
			}
		case *ops.DeletePods:
			for _, r := range op.Rows {
				names = append(names, "-"+r.Name)
			}
		case *ops.Put:
			names = append(names, op.Object.(*corev1.Event).Name)
		}
	}
	return names
}

// What the servers refuse for good keeps nothing else from them, and is not said again; what did not arrive is.
func TestWriterDropsWhatIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		control *picky
		want    string
		writes  int // at most
	}{
		{"all is taken", &picky{}, "-b a b c d e1 e2", 1},
		{"a pod", &picky{refuse: map[string]bool{"c": true}}, "-b a b d e1 e2", 8},
		{"an end", &picky{refuse: map[string]bool{"-b": true}}, "a c d e1 e2", 8},
		{"an event", &picky{refuse: map[string]bool{"e1": true}}, "-b a b c d e2", 8},
		{"everything", &picky{refuse: map[string]bool{"a": true, "b": true, "c": true, "d": true, "e1": true, "e2": true}}, "", 12},
		{"too much at once", &picky{most: 2}, "-b a b c d e1 e2", 12},
		{"nobody hears", &picky{down: 3, refuse: map[string]bool{"d": true}}, "-b a b c e1 e2", 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				control := c.control
				w := newStatusWriter(control, hclog.NewNullLogger())
				for _, name := range []string{"a", "b", "c", "d"} {
					w.put(namedPod(name), []byte(name), false)
				}
				w.remove(namedPod("b"))
				w.addEvents([]ops.Op{eventOp("e1"), eventOp("e2")})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); w.run(ctx) }()
				time.Sleep(time.Minute)
				cancel()
				<-done
				slices.Sort(control.got)
				if got := strings.Join(control.got, " "); got != c.want {
					t.Errorf("the servers were told of %q, want %q", got, c.want)
				}
				if control.writes > c.writes {
					t.Errorf("%d writes, want at most %d", control.writes, c.writes)
				}
			})
		})
	}
}

func namedPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
}

func eventOp(name string) ops.Op {
	return &ops.Put{Object: &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}}
}
