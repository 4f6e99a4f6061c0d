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
// but for the resources that Begin names: the server is older and tells nothing of them.
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
	ctx, cancel := context.WithCancel(ctx)
	var leaving sync.WaitGroup
	defer leaving.Wait()
	defer cancel()
	leaving.Go(func() { l.leaveStale(ctx, cancel, conn) })
	stream, err := conn.Open(ctx, wire.MethodWatch, &wire.WatchRequest{Resources: w.resources(), Nodes: l.cfg.Nodes})
	if err != nil {
		return err
	}
	defer stream.Close()
	w.sink.Begin(w.untold)
	for {
		e := &wire.Event{}
		if err := stream.Recv(e); err != nil {
			return w.doWithout(err)
		}
		if e.Type == wire.EventSynced {
			w.sink.Synced(e.Revision)
		} else {
			w.sink.Event(e)
		}
	}
}

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
