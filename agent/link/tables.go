package link

import (
	"context"
	"fmt"
	"time"

	"github.com/peapod-sh/peapod/rpc/wire"
)

// ReportTable tells the servers, with the next heartbeat, by which revision of the services this node's proxy goes from now on. A prompt
// report does not wait for the heartbeat's time.
func (l *Link) ReportTable(revision uint64, prompt bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.table == revision {
		return
	}
	l.table = revision
	if prompt {
		close(l.prompt)
		l.prompt = make(chan struct{})
	}
}

// AwaitTables waits until no living node's proxy goes by services from before a revision.
func (l *Link) AwaitTables(ctx context.Context, revision uint64) error {
	if err := l.call(ctx, wire.MethodAwaitTables, &wire.AwaitTables{Revision: revision}, &wire.Empty{}); err != nil {
		return fmt.Errorf("waiting for the nodes' tables of services: %w", err)
	}
	return nil
}

// tableInForce is what heartbeats tell, and a channel that is closed when there is a prompt report.
func (l *Link) tableInForce() (revision uint64, prompt <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table, l.prompt
}

// pace waits for the time of the next heartbeat.
func (l *Link) pace(ctx context.Context, prompt <-chan struct{}) error {
	beat := time.After(l.nextBeat())
	select {
	case <-beat:
		return nil
	case <-prompt:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-beat:
	case <-time.After(tablePause):
	case <-ctx.Done():
	}
	return ctx.Err()
}
