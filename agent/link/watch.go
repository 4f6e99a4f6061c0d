package link

import (
	"context"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Sink receives a watch. Each time the watch starts over, Begin comes first, then an event for all
// that exists, then Synced with the revision as of which that is all; whatever was not named in between is gone. A watch that goes on with
// another server, or the same one again, goes on for the sink too: it hears of no new beginning.
type Sink interface {
	Begin()
	Event(*wire.Event)
	Synced(revision uint64)
}

// Watch follows resources into sink until ctx ends, going from one server to the next as they fail.
func (l *Link) Watch(ctx context.Context, resources []string, sink Sink) error {
	w := watch{resources: resources, sink: sink}
	for ctx.Err() == nil {
		if err := l.watchOnce(ctx, &w); err != nil && ctx.Err() == nil {
			l.log.Debug("the watch ended and begins again", "error", err)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// watch is where a watch has come to.
type watch struct {
	resources []string
	sink      Sink
	known     uint64 // the revision as of which the sink has everything; 0 before it was synced
	whole     bool   // no beginning waits for its Synced
}

func (l *Link) watchOnce(ctx context.Context, w *watch) error {
	conn, err := l.pick(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := l.whileHeard(ctx, conn)
	var leaving sync.WaitGroup
	defer leaving.Wait()
	defer cancel()
	leaving.Go(func() { l.leaveStale(ctx, cancel, conn) })
	stream, err := conn.Open(ctx, wire.MethodWatch, &wire.WatchRequest{Resources: w.resources, Nodes: l.cfg.Nodes, Since: w.known})
	if err != nil {
		return err
	}
	defer stream.Close()
	for first := true; ; first = false {
		e := &wire.Event{}
		if err := stream.Recv(e); err != nil {
			return err
		}
		w.take(e, first)
	}
}

// take hands an event on. The servers tell changes in the order of their revisions, and so they do what was missed: each event is all up to
// its own.
func (w *watch) take(e *wire.Event, first bool) {
	if first && e.Type != wire.EventResumed {
		w.known, w.whole = 0, false
		w.sink.Begin()
	}
	switch e.Type {
	case wire.EventResumed:
		return
	case wire.EventSynced:
		if !w.whole {
			w.sink.Synced(e.Revision)
		}
		w.whole = true
	default:
		w.sink.Event(e)
	}
	if w.whole && !aside[e.Resource] {
		w.known = max(w.known, e.Revision)
	}
}

// aside are resources whose objects may be told out of turn, as newer than the changes that come next.
var aside = map[string]bool{wire.PodAddresses: true, "secrets": true}

// leaveStale ends a watch whose server was cut off from the cluster while another was not.
func (l *Link) leaveStale(ctx context.Context, leave context.CancelFunc, conn *rpc.Conn) {
	ticker := time.NewTicker(staleCheck)
	defer ticker.Stop()
	for strikes := 0; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if !l.stale(conn) {
			strikes = 0
		} else if strikes++; strikes >= staleStrikes {
			leave()
			return
		}
	}
}
