package reconcile

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestIndexesAsText(t *testing.T) {
	for _, c := range []struct {
		in    []int
		limit int
		want  string
	}{
		{nil, 9, ""},
		{[]int{0}, 9, "0"},
		{[]int{3, 2}, 9, "2,3"},
		{[]int{7, 4, 1, 5, 3}, 9, "1,3-5,7"},
		{[]int{0, 1, 2, 3, 4, 5}, 4, "0-3"},
		{[]int{5, 6}, 5, ""},
	} {
		full := indexes(nil).with(c.in).String()
		if got := parseIndexes(full, c.limit).String(); got != c.want {
			t.Errorf("%v below %d are %q, by way of %q", c.in, c.limit, got, full)
		}
	}
}

// TestIndexesAreSets compares them with a set that is simple.
func TestIndexesAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (list []int, set map[int]bool) {
			list, set = rapid.SliceOf(rapid.IntRange(0, 30)).Draw(t, name), map[int]bool{}
			for _, i := range list {
				set[i] = true
			}
			return list, set
		}
		a, inA := draw("a")
		b, inB := draw("b")
		x := indexes(nil).with(a).with(b)
		y := x.without(indexes(nil).with(b))
		both := maps.Clone(inA)
		maps.Copy(both, inB)
		if x.total() != len(both) {
			t.Fatalf("%v and %v are %v", a, b, x)
		}
		for i := range 32 {
			if x.has(i) != both[i] || y.has(i) != (inA[i] && !inB[i]) {
				t.Fatalf("%d of %v and %v: %v, %v", i, a, b, x, y)
			}
			if next := x.after(i); both[next] || next < i || next > i && !both[next-1] {
				t.Fatalf("after %d in %v comes %d", i, x, next)
			}
		}
		if again := parseIndexes(x.String(), 100); !slices.Equal(again, x) {
			t.Fatalf("%v reads as %v", x, again)
		}
	})
}
