package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// table collects rows and prints them when all are there.
type table struct {
	out     io.Writer
	command string // of the rows to come
	rows    []row
}

type row struct{ what, ours, target, verdict, command string }

func newTable(out io.Writer) *table { return &table{out: out} }

// below is a row whose value should not be above its target.
func (t *table) below(what string, value, target float64, unit string) {
	t.judged(what, value, target, "<=", unit, value <= target)
}

// above is a row whose value should not be below its target.
func (t *table) above(what string, value, target float64, unit string) {
	t.judged(what, value, target, ">=", unit, value >= target)
}

func (t *table) judged(what string, value, target float64, sign, unit string, ok bool) {
	verdict := "ok"
	if !ok {
		verdict = "MISSED"
	}
	t.rows = append(t.rows, row{what, show(value) + " " + unit, sign + " " + show(target) + " " + unit, verdict, t.command})
}

// told is a row without a target.
func (t *table) told(what, value string) {
	t.rows = append(t.rows, row{what, value, "", "", t.command})
}

func (t *table) print() {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tOURS\tTARGET\tVERDICT\tCOMMAND")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.target, r.verdict, r.command)
	}
	w.Flush()
}

// show keeps three digits that matter.
func show(v float64) string {
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// quantile of durations, in milliseconds; the nearest rank.
func quantile(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(list))
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return milliseconds(s[max(i, 0)])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
