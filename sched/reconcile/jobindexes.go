package reconcile

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

// span is a row of indexes, first <= last.
type span struct{ first, last int }

// indexes is a set of indexes of a job: spans in growing order, with a gap between each and the next. A job may have very many of them.
type indexes []span

// parseIndexes reads a list like "1,3-5,7". What is not below the limit is left out, as is everything from the first fault on.
func parseIndexes(text string, limit int) (out indexes) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isSpan := strings.Cut(part, "-")
		if !isSpan {
			last = first
		}
		a, err := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || a > b || a >= limit {
			return out
		}
		out = out.add(span{a, min(b, limit-1)})
	}
	return out
}

// add appends a span that begins where the last one does, or later.
func (x indexes) add(s span) indexes {
	if n := len(x); n > 0 && s.first <= x[n-1].last+1 {
		x[n-1].last = max(x[n-1].last, s.last)
		return x
	}
	return append(x, s)
}

// with is the set with more indexes, in any order.
func (x indexes) with(list []int) indexes {
	if len(list) == 0 {
		return x
	}
	all := slices.Clone(x)
	for _, i := range list {
		all = append(all, span{i, i})
	}
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var out indexes
	for _, s := range all {
		out = out.add(s)
	}
	return out
}

// without is the set without those of another.
func (x indexes) without(y indexes) (out indexes) {
	for _, s := range x {
		for _, t := range y {
			if t.last < s.first || t.first > s.last {
				continue
			}
			if t.first > s.first {
				out = append(out, span{s.first, t.first - 1})
			}
			s.first = t.last + 1
		}
		if s.first <= s.last {
			out = append(out, s)
		}
	}
	return out
}

// at is the number of the first span that ends at i or later.
func (x indexes) at(i int) int {
	return sort.Search(len(x), func(k int) bool { return x[k].last >= i })
}

func (x indexes) has(i int) bool {
	k := x.at(i)
	return k < len(x) && x[k].first <= i
}

// after is the first index from i on that is not in the set.
func (x indexes) after(i int) int {
	if k := x.at(i); k < len(x) && x[k].first <= i {
		return x[k].last + 1
	}
	return i
}

func (x indexes) total() (n int) {
	for _, s := range x {
		n += s.last - s.first + 1
	}
	return n
}

// String writes two neighbours as two, and more as a span.
func (x indexes) String() string {
	var b []byte
	for _, s := range x {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(s.first), 10)
		if s.last > s.first {
			between := byte('-')
			if s.last == s.first+1 {
				between = ','
			}
			b = strconv.AppendInt(append(b, between), int64(s.last), 10)
		}
	}
	return string(b)
}
