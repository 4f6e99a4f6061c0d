package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// print shows medians: of the direct connection, of each path as its ratio, and what was to be reached.
func (b *measurement) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "RATIO TO DIRECT\tDIRECT")
	for _, p := range b.paths {
		fmt.Fprintf(w, "\t%s", strings.ToUpper(filepath.Base(p.name)))
	}
	fmt.Fprintln(w)
	for _, m := range metrics() {
		if !wanted(m.name) {
			continue
		}
		b.row(w, m.name+", rate", m, func(x *sample) float64 { return x.direct.rate() * m.scale }, m.unit, rateRatio)
		if m.name == "bulk" {
			b.row(w, "  processor time a GB", m, func(x *sample) float64 { return x.directCPU / x.direct.Ops * 1e12 }, "ms", costRatio)
		} else {
			b.row(w, "  processor time of all", m, func(x *sample) float64 { return x.directCPU / x.direct.Ops * 1e6 }, "us", costRatio)
			b.row(w, "  the proxy's own, us", m, func(*sample) float64 { return 0 }, "us", func(x *sample) float64 { return x.proxyCPU / x.through.Ops * 1e6 })
		}
		if m.order.Kind == "requests" {
			b.row(w, "  p50, us", m, func(x *sample) float64 { return x.direct.P50 }, "us", func(x *sample) float64 { return x.through.P50 })
			b.row(w, "  p99, us", m, func(x *sample) float64 { return x.direct.P99 }, "us", func(x *sample) float64 { return x.through.P99 })
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.verdicts(w)
	for _, l := range b.lines {
		fmt.Fprintln(w, l)
	}
	return w.Flush()
}

func (b *measurement) row(w io.Writer, name string, m metric, direct func(*sample) float64, unit string, value func(*sample) float64) {
	var all []float64
	for _, p := range b.paths {
		all = append(all, b.of(m.name, p.name, direct)...)
	}
	fmt.Fprintf(w, "%s\t%s %s", name, short(median(all)), unit)
	for _, p := range b.paths {
		fmt.Fprintf(w, "\t%s", spread(b.of(m.name, p.name, value)))
	}
	fmt.Fprintln(w)
}

// spread is the median, with the least and the greatest.
func spread(list []float64) string {
	if len(list) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s-%s)", short(median(list)), short(slices.Min(list)), short(slices.Max(list)))
}

// short keeps three digits that matter.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 10_000:
		return fmt.Sprintf("%.0fk", v/1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// goal is what Peapod should reach of one metric: at least, or at most if cost.
type goal struct {
	metric string
	cost   bool
	direct float64 // 0 is none
	rivals map[string]float64
}

var goals = []goal{
	{"bulk", false, .75, map[string]float64{"haproxy": 1.05, "nginx": 1.1}},
	{"bulk", true, 1.45, map[string]float64{"haproxy": .9, "nginx": .85}},
	{"requests-1", false, .70, map[string]float64{"haproxy": 1.15, "nginx": 1}},
	{"requests-64", false, .60, map[string]float64{"haproxy": 1, "nginx": 1.25}},
	{"connects", false, .57, map[string]float64{"haproxy": 1.02, "nginx": 1.25}},
	{"datagrams-64B", false, .55, map[string]float64{"nginx": 1.05}},
	{"datagrams-1200B", false, 0, map[string]float64{"nginx": 1.2}},
}

// verdicts compares Peapod with its goals. A rival's best setting counts.
func (b *measurement) verdicts(w io.Writer) {
	fmt.Fprintln(w, "\nGOAL\tRATIO TO\tPEAPOD\tWANTED\t")
	for _, g := range goals {
		value, sign := rateRatio, ">="
		name := g.metric + ", rate"
		if g.cost {
			value, sign, name = costRatio, "<=", g.metric+", processor time"
		}
		ours := median(b.of(g.metric, "peapod", value))
		if math.IsNaN(ours) {
			continue
		}
		judge := func(to string, got, want float64) {
			verdict := "ok"
			if got < want != g.cost && got != want {
				verdict = "MISSED"
			}
			fmt.Fprintf(w, "%s\t%s\t%.2f\t%s %.2f\t%s\n", name, to, got, sign, want, verdict)
		}
		if g.direct > 0 {
			judge("direct", ours, g.direct)
		}
		for _, rival := range []string{"haproxy", "nginx"} {
			if best := b.best(g, rival, value); g.rivals[rival] > 0 && !math.IsNaN(best) {
				judge(rival, ours/best, g.rivals[rival])
			}
		}
	}
}

func (b *measurement) best(g goal, rival string, value func(*sample) float64) float64 {
	best := math.NaN()
	for _, p := range b.paths {
		if v := median(b.of(g.metric, p.name, value)); strings.HasPrefix(p.name, rival) && (math.IsNaN(best) || v > best != g.cost) {
			best = v
		}
	}
	return best
}
