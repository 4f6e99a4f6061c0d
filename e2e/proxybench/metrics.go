package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
)

// metric is one kind of load.
type metric struct {
	name, unit string
	order      order
	port       int
	udp        bool
	scale      float64 // from operations to the unit's
}

func metrics() []metric {
	return []metric{
		{"bulk", "Gb/s", order{Kind: "bulk"}, bulkPort, false, 8e-9},
		{"requests-1", "req/s", order{Kind: "requests", Conns: 1}, echoPort, false, 1},
		{"requests-64", "req/s", order{Kind: "requests", Conns: 64}, echoPort, false, 1},
		{"connects", "conn/s", order{Kind: "connects", Conns: 32}, oncePort, false, 1},
		{"datagrams-64B", "/s", order{Kind: "datagrams", Conns: 16, Window: 32, Size: 64}, datagramPort, true, 1},
		{"datagrams-1200B", "/s", order{Kind: "datagrams", Conns: 16, Window: 32, Size: 1200}, datagramPort, true, 1},
		{"datagrams-64x1", "/s", order{Kind: "datagrams", Conns: 64, Window: 1, Size: 64}, datagramPort, true, 1},
	}
}

func metricNames() (out []string) {
	for _, m := range metrics() {
		out = append(out, m.name)
	}
	return out
}

// sample is one path's result with the direct one before it.
type sample struct {
	direct, through result
	directCPU, cpu  float64 // seconds of client, backend and proxy
	proxyCPU        float64 // of the proxy alone
}

// perOp is processor time for an operation, in seconds.
func (s *sample) perOp() (direct, through float64) {
	return s.directCPU / s.direct.Ops, s.cpu / s.through.Ops
}

// measurement collects samples by metric and path.
type measurement struct {
	site    *site
	paths   []*path
	samples map[[2]string][]sample
	lines   []string // of what is counted once
}

// ratios takes the samples of all metrics: rounds on the outside, so that a busy minute falls on all alike.
func (b *measurement) ratios(ctx context.Context) error {
	b.samples = map[[2]string][]sample{}
	for round := range *rounds {
		for _, m := range metrics() {
			if !wanted(m.name) {
				continue
			}
			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, m.name)
			for _, p := range b.paths {
				if m.udp && !p.udp {
					continue
				}
				x, err := b.sample(ctx, m, p)
				if err != nil {
					return err
				}
				key := [2]string{m.name, p.name}
				b.samples[key] = append(b.samples[key], x)
			}
		}
	}
	return nil
}

func (b *measurement) sample(ctx context.Context, m metric, p *path) (x sample, err error) {
	if x.direct, x.directCPU, _, err = b.load(ctx, m, backendAddr(1), nil); err != nil {
		return x, err
	}
	if p.brief {
		if _, err := p.open(ctx); err != nil {
			return x, err
		}
		defer p.close()
	}
	x.through, x.cpu, x.proxyCPU, err = b.load(ctx, m, p.at, p.pids)
	return x, err
}

// load returns what the client did, the processor time of all, and that of the proxy.
func (b *measurement) load(ctx context.Context, m metric, at netip.Addr, proxy []int) (r result, all, own float64, err error) {
	backend := []int{b.site.backend.pid()}
	ours, theirs := processorTimes(proxy), processorTimes(backend)
	o := m.order
	o.To, o.For = netip.AddrPortFrom(at, uint16(m.port)), *length
	if r, err = b.site.load(ctx, o); err != nil {
		return r, 0, 0, err
	}
	own = processorTimes(proxy) - ours
	all = r.CPU + own + processorTimes(backend) - theirs
	if r.Ops == 0 {
		return r, all, own, fmt.Errorf("%s through %s: nothing came (%d failed)", m.name, at, r.Failed)
	}
	if float64(r.Failed) > r.Ops/1000 {
		fmt.Fprintf(os.Stderr, "  %s through %s: %d failed of %.0f\n", m.name, at, r.Failed, r.Ops)
	}
	return r, all, own, nil
}

// of returns a value of every sample of a metric and path.
func (b *measurement) of(metric, path string, value func(*sample) float64) []float64 {
	var out []float64
	for i := range b.samples[[2]string{metric, path}] {
		out = append(out, value(&b.samples[[2]string{metric, path}][i]))
	}
	return out
}

func rateRatio(x *sample) float64 { return x.through.rate() / x.direct.rate() }

func costRatio(x *sample) float64 {
	direct, through := x.perOp()
	return through / direct
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
