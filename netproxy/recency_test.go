package netproxy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Sessions are in the order of when they were heard of last, from either end, whatever came and went.
func TestRecencyIsTheOrderOfBeingHeard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ln := &listener{}
		var order []*session // oldest first
		for now := range rapid.Int64Range(1, 40).Draw(t, "steps") {
			switch i := rapid.IntRange(0, max(0, len(order)-1)).Draw(t, "which"); {
			case len(order) == 0 || rapid.Bool().Draw(t, "new"):
				s := &session{ln: ln}
				ln.heard.add(s)
				order = append(order, s)
			case rapid.Bool().Draw(t, "ends"):
				ln.heard.remove(order[i])
				order = slices.Delete(order, i, i+1)
			default:
				s := order[i]
				s.touch(now)
				order = append(slices.Delete(order, i, i+1), s)
			}
			var forth, back []*session
			for s := ln.heard.oldest; s != nil; s = s.newer {
				forth = append(forth, s)
			}
			for s := ln.heard.newest; s != nil; s = s.older {
				back = append([]*session{s}, back...)
			}
			if !slices.Equal(forth, order) || !slices.Equal(back, order) {
				t.Fatalf("%d sessions: %v and %v, want %v", len(order), forth, back, order)
			}
		}
	})
}
