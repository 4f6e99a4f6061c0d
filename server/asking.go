package server

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/kube"
)

const (
	// asksMax bounds the workloads whose pods are asked about at a time: a webhook that hangs must not hold up the others for long.
	asksMax = 64
	// asksOfOneMax bounds the pods of one workload that are asked about at a time.
	asksOfOneMax = 8
)

// answered is what became of an ask.
type answered struct {
	ask     reconcile.Ask
	created []string
	why     string
}

// asker creates the pods that webhooks, policies or quotas want to be asked about, as a client would, so that the term does not wait for them.
type asker struct {
	api   func() *kube.Server // nil while the API does not serve yet
	queue chan reconcile.Ask
	done  chan answered
}

func newAsker(api func() *kube.Server) *asker {
	// An answer never waits for the term, which may wait to hand over another ask.
	return &asker{api: api, queue: make(chan reconcile.Ask), done: make(chan answered, asksMax)}
}

// Run works until ctx ends.
func (a *asker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asksMax + 1)
	for {
		select {
		case ask := <-a.queue:
			g.Go(func() error {
				created, err := a.create(ctx, ask)
				out := answered{ask: ask, created: created}
				if err != nil {
					out.why = err.Error()
				}
				select {
				case a.done <- out:
				case <-ctx.Done():
				}
				return nil
			})
		case <-ctx.Done():
			_ = g.Wait() // none returns an error
			return ctx.Err()
		}
	}
}

// create makes pods until one is refused, and says which were made.
func (a *asker) create(ctx context.Context, ask reconcile.Ask) (created []string, err error) {
	api := a.api()
	if api == nil {
		return nil, errors.New("the API does not serve yet")
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asksOfOneMax)
	for _, p := range ask.Pods {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // another one was refused
			}
			name := p.Name
			if err := api.CreatePod(ctx, ask.Kind.Kind, p); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			created = append(created, name)
			return nil
		})
	}
	err = g.Wait()
	return created, err
}

// exchange hands over and takes what can be at once, so that neither waits for a quiet moment.
func (t *term) exchange(tail *fsm.Tail) error {
	for {
		queue, ask := t.handOver()
		select {
		case queue <- ask:
			t.asks = t.asks[1:]
		case a := <-t.asker.done:
			if err := t.answer(tail, a); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// answer tells the engine, which must know the pods that were created first.
func (t *term) answer(tail *fsm.Tail, a answered) error {
	if err := t.observe(tail); err != nil {
		return err
	}
	t.engine.Answered(a.ask, t.now(), a.created, a.why)
	return nil
}

// handOver is the next ask that the asker has not taken yet, and where to send it; a nil channel, on which nothing can be sent, if there is none.
func (t *term) handOver() (chan<- reconcile.Ask, reconcile.Ask) {
	if len(t.asks) == 0 {
		return nil, reconcile.Ask{}
	}
	return t.asker.queue, t.asks[0]
}
