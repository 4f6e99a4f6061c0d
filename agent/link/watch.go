package link

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Sink receives a watch. Each time the watch starts over, Begin comes first, then an event for all
// that exists, then Synced with the revision as of which that is all; whatever was not named in between is gone,
// but for the resources that Begin names: the server is older and tells nothing of them. A watch that goes on with another server, or the
// same one again, goes on for the sink too: it hears of no new beginning.
type Sink interface {
	Begin(untold []string)
	Event(*wire.Event)
	Synced(revision uint64)
}

// Watch follows resources into sink until ctx ends, going from one server to the next as they fail. A server that does not know an optional
// one is watched without, until it comes back or another is watched.
func (l *Link) Watch(ctx context.Context, required, optional []string, sink Sink) error {
	w := watch{link: l, required: required, optional: optional, sink: sink}
	for ctx.Err() == nil {
		if err := w.once(ctx); err != nil && ctx.Err() == nil {
			l.log.Debug("the watch ended and begins again", "error", err)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// watch is what Watch remembers from one attempt to the next.
type watch struct {
	link               *Link
	required, optional []string
	sink               Sink
	conn               *rpc.Conn
	untold             []string // optional resources that the server of conn does not know
	begun              []string // those of the sink's last beginning
	known              uint64   // the revision as of which the sink has everything else; 0 before it was synced
	whole              bool     // no beginning waits for its Synced
}

// once watches one server. It returns nil if that is to be tried again at once.
func (w *watch) once(ctx context.Context) error {
	l := w.link
	conn, err := l.pick(ctx)
	if err != nil {
		return err
	}
	if conn != w.conn {
		w.conn, w.untold = conn, nil
	}
	ctx, cancel := l.whileHeard(ctx, conn)
	var leaving sync.WaitGroup
	defer leaving.Wait()
	defer cancel()
	leaving.Go(func() { l.leaveStale(ctx, cancel, conn) })
	stream, err := conn.Open(ctx, wire.MethodWatch, &wire.WatchRequest{Resources: w.resources(), Nodes: l.cfg.Nodes, Since: w.since()})
	if err != nil {
		return err
	}
	defer stream.Close()
	for first := true; ; first = false {
		e := &wire.Event{}
		if err := stream.Recv(e); err != nil {
			return w.doWithout(err)
		}
		w.take(e, first)
	}
}

// since is the revision from which the server is to go on; 0 is to begin anew, as where it tells of more than the sink has heard of.
func (w *watch) since() uint64 {
	if !slices.Equal(w.untold, w.begun) {
		return 0
	}
	return w.known
}

// take hands an event on. The servers tell changes in the order of their revisions, and so they do what was missed: each event is all up to
// its own.
func (w *watch) take(e *wire.Event, first bool) {
	if first && e.Type != wire.EventResumed {
		w.known, w.whole, w.begun = 0, false, slices.Clone(w.untold)
		w.sink.Begin(w.begun)
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

// resources are those to ask the server for.
func (w *watch) resources() []string {
	out := slices.Clone(w.required)
	for _, r := range w.optional {
		if !slices.Contains(w.untold, r) {
			out = append(out, r)
		}
	}
	return out
}

// doWithout turns the refusal of an optional resource into a lesson; any other error remains.
func (w *watch) doWithout(err error) error {
	if rpc.CodeOf(err) != rpc.CodeDenied {
		return err
	}
	for _, r := range w.optional {
		if strings.HasSuffix(err.Error(), wire.RefusedWatch+r) && !slices.Contains(w.untold, r) {
			w.link.log.Warn("a server is older than this agent and does not tell of a resource; what was known of it stays", "resource", r)
			w.untold = append(w.untold, r)
			return nil
		}
	}
	return err
}

// leaveStale ends a watch whose server was cut off from the cluster while another was not. If its server led, and falls silent, it is enough
// that another leads: that one knows already who died with it.
func (l *Link) leaveStale(ctx context.Context, leave context.CancelFunc, conn *rpc.Conn) {
	ticker := time.NewTicker(staleCheck)
	defer ticker.Stop()
	for strikes := 0; ; {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		tick := false
		select {
		case <-changed:
		case <-ticker.C:
			tick = true
		case <-ctx.Done():
			return
		}
		switch {
		case l.deposed(conn):
			strikes = staleStrikes
		case !tick:
		case !l.stale(conn):
			strikes = 0
		default:
			strikes++
		}
		if strikes >= staleStrikes {
			leave()
			return
		}
	}
}

// deposed says that conn's server is silent and does not lead, while the leader is connected.
func (l *Link) deposed(conn *rpc.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	led := l.keepers[l.leader]
	if led == nil || led.quiet(conn) {
		return false
	}
	if c, contact := led.current(); c == nil || c == conn || !contact {
		return false
	}
	for _, k := range l.keepers {
		if k.quiet(conn) {
			return true
		}
	}
	return false
}
