package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// apiRounds is how often etcd and the API take turns, so that what disturbs the machine disturbs both.
const apiRounds = 3

// benchAPI compares creations of ConfigMaps of 1 KiB through the leader with raw puts of 1 KiB into etcd, on
// the same disk, and says where the leader's time goes.
func benchAPI(ctx context.Context, l *rig.Lab, t *table) (err error) {
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	e, err := startEtcd(ctx, l.Dir+"/etcd")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if _, err := benchWritesVia(ctx, l, []string{leader}, writers, time.Second); err != nil {
		return err // the first writes of a server read schemas and grow the heap
	}
	for _, c := range []struct {
		clients int
		target  float64
	}{{64, 0.7}, {512, 1}} {
		if err := compareWrites(ctx, l, e, leader, c.clients, c.target, t); err != nil {
			return err
		}
	}
	for _, clients := range []int{64, 512} {
		if err := profileWrites(ctx, l, leader, clients, t); err != nil {
			return err
		}
	}
	return nil
}

func compareWrites(ctx context.Context, l *rig.Lab, e *etcd, leader string, clients int, target float64, t *table) error {
	var theirs, ours rate
	for range apiRounds {
		r, err := e.put(clients, *writing)
		if err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		theirs = theirs.plus(r)
		if r, err = benchWritesVia(ctx, l, []string{leader}, clients, *writing); err != nil {
			return err
		}
		ours = ours.plus(r)
	}
	t.above(fmt.Sprintf("API writes of 1 KiB through the leader to raw puts of etcd, %d clients", clients), ours.perSecond/theirs.perSecond, target, ": 1")
	t.told("  the API", ours.show())
	t.told("  its processor time", ours.costs)
	t.told("  etcd 3.7.0, 3 members in one process, no TLS", theirs.show())
	return nil
}

// plus adds a round; the costs of the last one are kept.
func (r rate) plus(o rate) rate {
	return rate{r.perSecond + o.perSecond/apiRounds, r.p50 + o.p50/apiRounds, r.cpu + o.cpu/apiRounds, o.costs}
}

func (r rate) show() string {
	return fmt.Sprintf("%.0f /s, p50 %.1f ms, %.0f us of processor each", r.perSecond, r.p50, r.cpu)
}

// profileWrites tells what the leader does while clients write. It is a run of its own, since profiling costs something.
func profileWrites(ctx context.Context, l *rig.Lab, leader string, clients int, t *table) error {
	conns, err := openWriters(ctx, l, []string{leader}, clients)
	defer closeWriters(conns)
	if err != nil {
		return err
	}
	encoded, err := takeProfile(ctx, l, leader, func() error {
		_, _, err := writeConfigMaps(conns, *writing)
		return err
	})
	if err != nil {
		return err
	}
	if err := keepProfile(fmt.Sprintf("leader-%d-clients", clients), encoded); err != nil {
		return err
	}
	list, err := shares(encoded)
	if err != nil {
		return err
	}
	t.told(fmt.Sprintf("where the leader's processor time goes with %d clients", clients), "")
	for _, s := range list {
		t.told("  "+s.name, fmt.Sprintf("%.0f %%", 100*s.part))
	}
	return nil
}

// takeProfile is what a server's processor time goes to while something runs that takes as long as a run of the writers.
func takeProfile(ctx context.Context, l *rig.Lab, server string, run func() error) ([]byte, error) {
	type answer struct {
		profile []byte
		err     error
	}
	got := make(chan answer, 1)
	go func() {
		seconds := max(int(writing.Seconds())-1, 1)
		b, err := l.Admin(ctx, server, "server", http.MethodGet, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		got <- answer{b, err}
	}()
	err := run()
	a := <-got
	return a.profile, errors.Join(err, a.err)
}

// keepProfile writes one where they are wanted.
func keepProfile(name string, encoded []byte) error {
	if *profiles == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(*profiles, name+".pprof"), encoded, 0o600)
}
