package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// tell notes a line of the table below the ratios.
func (b *measurement) tell(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// atMost says whether Peapod keeps what it should; others have nothing to keep.
func atMost(path string, got, limit float64) string {
	switch {
	case path != "peapod" || limit == 0:
		return ""
	case got <= limit:
		return fmt.Sprintf(" (<= %g: ok)", limit)
	}
	return fmt.Sprintf(" (<= %g: MISSED)", limit)
}

// Peapod's limits, beside those of the ratios.
var callsMost = map[string]float64{"requests-1": 6.5, "requests-64": 6.5, "connects": 24, "bulk": 8}

const (
	idleKiBMost     = 1
	listenersMsMost = 300
	swapMsMost      = 50
)

// counts are system calls of the proxies for a request, a connection and a megabyte.
func (b *measurement) counts(ctx context.Context) error {
	if !wanted("calls") {
		return nil
	}
	for _, m := range metrics() {
		for _, p := range b.paths {
			if p.brief || m.udp && !p.udp {
				continue
			}
			c, err := countCalls(p.pids)
			if err != nil {
				return err
			}
			r, _, _, err := b.load(ctx, m, p.at, p.pids)
			n := c.end()
			if err != nil {
				return err
			}
			unit, per := "an operation", r.Ops
			if m.name == "bulk" {
				unit, per = "a megabyte", r.Ops/1e6
			}
			b.tell("calls\t%s\t%s\t%.1f%s\tsystem calls %s", m.name, p.name, n/per, atMost(p.name, n/per, callsMost[m.name]), unit)
		}
	}
	return nil
}

// idleMost is how many idle connections are held if descriptors allow.
const idleMost = 10_000

// capacity is what idle connections, many listeners and large tables cost.
func (b *measurement) capacity(ctx context.Context) error {
	if wanted("idle") {
		for _, p := range b.paths {
			if p.brief {
				continue
			}
			if err := b.idle(ctx, p); err != nil {
				return err
			}
		}
	}
	if wanted("listeners") || wanted("swap") {
		return b.tables(ctx)
	}
	return nil
}

func (b *measurement) idle(ctx context.Context, p *path) error {
	idleConns := min(idleMost, files()/2-300)
	held, memory, kernel := descriptors(p.pids), resident(p.pids), slab()
	arg, err := json.Marshal(order{Kind: "idle", To: netip.AddrPortFrom(p.at, idlePort), Conns: idleConns})
	if err != nil {
		return err
	}
	c, err := b.site.start(ctx, "client", "client", string(arg))
	if err != nil {
		return err
	}
	defer c.end()
	for range 100 { // until the last have reached the backend
		if descriptors(p.pids)-held >= 2*float64(idleConns) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	n := float64(idleConns)
	each := (resident(p.pids) - memory) / n
	b.tell("idle\t%d connections\t%s\t%.2f KiB%s\tresident memory of one; %.1f descriptors; %.1f KiB of the machine's slab meanwhile", idleConns, p.name,
		each, atMost(p.name, each, idleKiBMost), (descriptors(p.pids)-held)/n, (slab()-kernel)/n)
	return nil
}

// tables measures listeners and swaps in a proxy of its own, that has no past.
func (b *measurement) tables(ctx context.Context) error {
	at, to := netip.MustParseAddr("10.98.2.1"), backendAddr(1)
	c, err := b.site.start(ctx, "node", "subject", at.String(), to.String())
	if err != nil {
		return err
	}
	defer c.end()
	pids := []int{c.pid()}
	memory, kernel := resident(pids), slab()
	var s swapped
	if err := c.ask("fill", &s); err != nil {
		return err
	}
	b.tell("listeners\t%d services\tpeapod\t%.0f ms%s\tto open all, %.0f of them processor time; %.1f KiB resident and %.1f of slab each, with %d endpoints", tableServices,
		s.Took, atMost("peapod", s.Took, listenersMsMost), s.CPU, (resident(pids)-memory)/tableServices, (slab()-kernel)/tableServices, tableEndpoints)
	calm, err := b.latency(ctx, at)
	if err != nil {
		return err
	}
	b.tell("swap\t%d services\tpeapod\t%.0f us\tp99 of a request, 16 connections, no swaps (p50 %.0f)", tableServices, calm.P99, calm.P50)
	for _, kind := range []string{"one", "same", "all"} {
		if err := b.swaps(ctx, c, at, kind); err != nil {
			return err
		}
	}
	return nil
}

func (b *measurement) latency(ctx context.Context, at netip.Addr) (result, error) {
	return b.site.load(ctx, order{Kind: "requests", To: netip.AddrPortFrom(at, echoPort), Conns: 16, For: 2 * *length})
}

// swaps puts tables in force one after the other while requests are made, and, to tell what that does from what making and
// collecting them does, makes as many that are not put in force.
func (b *measurement) swaps(ctx context.Context, c *child, at netip.Addr, kind string) error {
	made, _, err := b.swapping(ctx, c, at, "only make "+kind)
	if err != nil {
		return err
	}
	busy, all, err := b.swapping(ctx, c, at, kind)
	if err != nil {
		return err
	}
	var took, cpu []float64
	for _, s := range all {
		took, cpu = append(took, s.Took), append(cpu, s.CPU)
	}
	b.tell("swap\t%s of %d\tpeapod\t%.1f ms%s\tto put the table in force, processor time %.1f, p50 of %d; p99 of a request meanwhile %.0f us (p50 %.0f), %.0f when tables are only made",
		kind, tableServices, median(took), atMost("peapod", median(took), swapMsMost), median(cpu), len(took), busy.P99, busy.P50, made.P99)
	return nil
}

// swapping asks for one table after the other, every 100 ms, while requests are made.
func (b *measurement) swapping(ctx context.Context, c *child, at netip.Addr, line string) (busy result, all []swapped, err error) {
	var g errgroup.Group
	done := make(chan struct{})
	g.Go(func() (err error) {
		defer close(done)
		busy, err = b.latency(ctx, at)
		return err
	})
	for {
		var s swapped
		if err := c.ask(line, &s); err != nil {
			return busy, nil, err
		}
		all = append(all, s)
		select {
		case <-done:
			return busy, all, g.Wait()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
