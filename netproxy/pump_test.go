package netproxy

import "testing"

// A direction goes by splice after some large reads, full or not, and comes back when as many more were small.
func TestBulkIsKnownByLargeReads(t *testing.T) {
	const part = bufferBytes * 3 / 4
	for _, c := range []struct {
		name  string
		reads []int
		want  bool
	}{
		{"full", []int{bufferBytes, bufferBytes, bufferBytes, bufferBytes}, true},
		{"as much as the sender had ready", []int{part, part, part, part}, true},
		{"with a small one between", []int{part, part, 100, part, part, part}, true},
		{"too few", []int{part, part, part}, false},
		{"small", []int{4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000}, false},
		{"answers of two parts", []int{part, 100, part, 100, part, 100, part, 100}, false},
		{"bulk with a pause", []int{part, part, part, part, 100, 100, part}, true},
		{"bulk, then talk", []int{part, part, part, part, 100, 100, 100, 100}, false},
		{"bulk, talk, and one large", []int{part, part, part, part, 100, 100, 100, 100, part}, false},
	} {
		var s side
		for _, n := range c.reads {
			s.noteSize(n)
		}
		if s.bulk != c.want {
			t.Errorf("%s: bulk is %v", c.name, s.bulk)
		}
	}
}
