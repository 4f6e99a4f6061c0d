package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

type watchEvent = watch.Event

const (
	writers        = 32
	entryBytes     = 1024
	writingDefault = 5 * time.Second
)

// benchWrites creates ConfigMaps of 1 KiB from many clients at once, through the leader and through all
// servers, and has bare raft take entries of that size from as many writers, on the same disk.
func benchWrites(ctx context.Context, l *rig.Lab, t *table) error {
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	bare, err := bareRaft(l.Dir+"/bare-raft", *writing)
	if err != nil {
		return err
	}
	rate, err := benchWritesVia(ctx, l, []string{leader}, writers, *writing)
	if err != nil {
		return err
	}
	t.above("writes of 1 KiB through the API, 3 servers, 32 clients", rate.perSecond, 3000, "/s")
	t.told("  one of these writes, p50", fmt.Sprintf("%.1f ms", rate.p50))
	t.told("  its processor time", rate.costs)
	t.told("  bare raft and raft-wal, 3 servers in one process, 32 writers", fmt.Sprintf("%.0f /s", bare))
	t.told("  API writes to bare raft's", fmt.Sprintf("1 : %.1f", bare/rate.perSecond))
	if rate, err = benchWritesVia(ctx, l, l.Servers(), writers, *writing); err != nil {
		return err
	}
	t.told("the same with the clients spread over all servers", fmt.Sprintf("%.0f /s", rate.perSecond))
	t.told("  its processor time", rate.costs)
	return nil
}

// rate is what one run of the writers found.
type rate struct {
	perSecond, p50 float64 // p50 in milliseconds
	cpu            float64 // microseconds of all processes for one write
	costs          string
}

// benchWritesVia counts processor time from when the clients have their connections.
func benchWritesVia(ctx context.Context, l *rig.Lab, servers []string, clients int, d time.Duration) (r rate, err error) {
	conns, err := openWriters(ctx, l, servers, clients)
	defer closeWriters(conns)
	if err != nil {
		return r, err
	}
	before, err := usages(l)
	if err != nil {
		return r, err
	}
	mine := ownCPU()
	if r.perSecond, r.p50, err = writeConfigMaps(conns, d); err != nil {
		return r, err
	}
	mine = ownCPU() - mine
	after, err := usages(l)
	if err != nil {
		return r, err
	}
	r.cpu, r.costs = costs(l, before, after, mine, r.perSecond*d.Seconds())
	return r, nil
}

// openWriters connects clients to the servers in turn; each has had an answer, so that its handshake is over.
func openWriters(ctx context.Context, l *rig.Lab, servers []string, clients int) (conns []*writer, err error) {
	for c := range clients {
		w, err := newWriter(ctx, l, servers[c%len(servers)])
		if err != nil {
			return conns, err
		}
		conns = append(conns, w)
		if _, err := w.get("/healthz", jsonType); err != nil {
			return conns, err
		}
	}
	return conns, nil
}

func closeWriters(conns []*writer) {
	for _, c := range conns {
		c.conn.Close()
	}
}

// writeConfigMaps returns writes a second and the median of one, in milliseconds.
func writeConfigMaps(conns []*writer, d time.Duration) (rate, p50 float64, err error) {
	run := time.Now().UnixNano()
	return hammer(len(conns), d, func(w, i int) error { return conns[w].create(configMap(fmt.Sprintf("w-%d-%d-%d", run, w, i))) })
}

// hammer has each of many clients do one thing after the other for some time, or until one fails. It returns how many things
// were done a second, and the median of one in milliseconds.
func hammer(clients int, d time.Duration, one func(client, i int) error) (rate, p50 float64, err error) {
	began := time.Now()
	took := make([][]time.Duration, clients)
	g, failed := errgroup.WithContext(context.Background())
	for c := range clients {
		g.Go(func() error {
			for i := 0; time.Since(began) < d && failed.Err() == nil; i++ {
				at := time.Now()
				if err := one(c, i); err != nil {
					return err
				}
				took[c] = append(took[c], time.Since(at))
			}
			return nil
		})
	}
	err = g.Wait()
	all := slices.Concat(took...)
	return float64(len(all)) / time.Since(began).Seconds(), quantile(all, 0.5), err
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": strings.Repeat("x", entryBytes)}}
}

func smallMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": "value"}}
}

// costs of a write in each server and in this process, and their sum in microseconds.
func costs(l *rig.Lab, before, after map[string]usage, mine time.Duration, writes float64) (sum float64, each string) {
	for _, s := range l.Servers() {
		one := 1e6 * (after[s].cpuSeconds - before[s].cpuSeconds) / writes
		sum += one
		each += fmt.Sprintf("%s %.0f, ", s, one)
	}
	own := float64(mine.Microseconds()) / writes
	return sum + own, each + fmt.Sprintf("client %.0f us", own)
}

// ownCPU is what this process has used of the processors.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
