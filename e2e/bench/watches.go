package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	watchers      = 1000
	watchedEvents = 1000
	eventWriters  = 32
	watchSettle   = 20 * time.Second // after the last watcher went
)

// benchWatches has many clients watch one resource while it changes. Each has a connection of its own, asks for protobuf
// and counts events without decoding them, since clients and servers share the machine.
func benchWatches(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	before, err := usages(l)
	if err != nil {
		return err
	}
	conns, err := openWatches(ctx, l, leader)
	defer func() { closeWriters(conns) }()
	if err != nil {
		return err
	}
	open, err := usages(l)
	if err != nil {
		return err
	}
	peak := samplePeak(l, leader)
	took, err := deliver(ctx, l, leader, conns)
	highest := peak()
	if err != nil {
		return err
	}
	used, err := usages(l)
	if err != nil {
		return err
	}
	closeWriters(conns)
	time.Sleep(watchSettle)
	after, err := usages(l)
	if err != nil {
		return err
	}
	t.above("1,000 watchers x 1,000 events: events delivered", watchers*watchedEvents/took.Seconds(), 500_000, "/s")
	t.told("  processor time of the server for an event to a watcher", fmt.Sprintf("%.2f us", 1e6*(used[leader].cpuSeconds-open[leader].cpuSeconds)/(watchers*watchedEvents)))
	t.told("  RssAnon of the server before, with watchers, at its peak, 20 s after",
		fmt.Sprintf("%.0f, %.0f, %.0f, %.0f MB", before[leader].anon, open[leader].anon, highest, after[leader].anon))
	return nil
}

// openWatches starts the watches at the present revision; each answer has begun when it returns.
func openWatches(ctx context.Context, l *rig.Lab, server string) (conns []*writer, err error) {
	c, err := l.Client(server)
	if err != nil {
		return nil, err
	}
	now, err := c.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	path := "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=" + now.ResourceVersion
	for range watchers {
		w, err := newWriter(ctx, l, server)
		if err != nil {
			return conns, err
		}
		conns = append(conns, w)
		r, err := w.ask("GET", path, protobufType+";stream=watch", nil)
		if err != nil {
			return conns, err
		}
		w.events = bufio.NewReaderSize(r.Body, readBuffer)
	}
	return conns, nil
}

// deliver makes the events and returns when every watcher has had all of them, with the time from the first write on.
func deliver(ctx context.Context, l *rig.Lab, server string, conns []*writer) (time.Duration, error) {
	sources := make([]*writer, eventWriters)
	for i := range sources {
		var err error
		if sources[i], err = newWriter(ctx, l, server); err != nil {
			return 0, err
		}
		defer sources[i].conn.Close()
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.conn.Close() // ends the reads
		}
	})
	defer stop()
	began := time.Now()
	for _, c := range conns {
		g.Go(func() error { return c.skipEvents(watchedEvents) })
	}
	var next atomic.Int64
	for _, s := range sources {
		g.Go(func() error {
			for n := next.Add(1); n <= watchedEvents; n = next.Add(1) {
				if err := s.create(smallMap(fmt.Sprintf("event-%d-%d", began.UnixNano(), n))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	stop()
	return time.Since(began), err
}

// skipEvents reads events of a watch: each comes behind its length in four bytes.
func (w *writer) skipEvents(n int) error {
	var length [4]byte
	for range n {
		if _, err := io.ReadFull(w.events, length[:]); err != nil {
			return err
		}
		if _, err := w.events.Discard(int(binary.BigEndian.Uint32(length[:]))); err != nil {
			return err
		}
	}
	return nil
}

// samplePeak watches a server's private memory until the function that it returns is called, which says how much it was at most, in MB.
func samplePeak(l *rig.Lab, server string) func() float64 {
	stop, peak := make(chan struct{}), make(chan float64, 1)
	go func() {
		highest := 0.0
		for {
			if u, err := usages(l); err == nil {
				highest = max(highest, u[server].anon)
			}
			select {
			case <-stop:
				peak <- highest
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return func() float64 { close(stop); return <-peak }
}
