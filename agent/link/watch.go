package link

import (
	"context"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Sink receives a watch. Each time the watch starts over, Begin comes first, then an event for all
// that exists, then Synced with the revision as of which that is all; whatever was not named in between is gone.
type Sink interface {
	Begin()
	Event(*wire.Event)
	Synced(revision uint64)
}

// Watch follows resources into sink until ctx ends, going from one server to the next as they fail.
func (l *Link) Watch(ctx context.Context, resources []string, sink Sink) error {
	for ctx.Err() == nil {
		if err := l.watchOnce(ctx, resources, sink); err != nil && ctx.Err() == nil {
			l.log.Debug("the watch ended and begins again", "error", err)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

func (l *Link) watchOnce(ctx context.Context, resources []string, sink Sink) error {
	conn, err := l.pick(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var leaving sync.WaitGroup
	defer leaving.Wait()
	defer cancel()
	leaving.Go(func() { l.leaveStale(ctx, cancel, conn) })
	stream, err := conn.Open(ctx, wire.MethodWatch, &wire.WatchRequest{Resources: resources, Nodes: l.cfg.Nodes})
	if err != nil {
		return err
	}
	defer stream.Close()
	sink.Begin()
	for {
		e := &wire.Event{}
		if err := stream.Recv(e); err != nil {
			return err
		}
		if e.Type == wire.EventSynced {
			sink.Synced(e.Revision)
		} else {
			sink.Event(e)
		}
	}
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
