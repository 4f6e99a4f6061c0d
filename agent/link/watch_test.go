package link

import (
	"slices"
	"testing"

	"github.com/peapod-sh/peapod/rpc/wire"
)

// Invariant 160: what a watch asks for next is what its sink has been told: all up to the last change of a watch that was synced once, nothing of one that
// was not, and nothing on the word of events that come out of turn.
func TestAWatchKnowsWhereItIs(t *testing.T) {
	put := func(name string, revision uint64) *wire.Event {
		return &wire.Event{Type: wire.EventPut, Resource: "pods", Name: name, Revision: revision}
	}
	synced := func(revision uint64) *wire.Event { return &wire.Event{Type: wire.EventSynced, Revision: revision} }
	resumed := &wire.Event{Type: wire.EventResumed}
	aside := &wire.Event{Type: wire.EventPut, Resource: wire.PodAddresses, Name: "x", Revision: 99}
	for name, c := range map[string]struct {
		watches [][]*wire.Event // each ends by being cut off
		known   uint64
		told    []string
	}{
		"cut off before it was synced":   {[][]*wire.Event{{put("a", 7)}}, 0, []string{"begin", "a"}},
		"synced":                         {[][]*wire.Event{{put("a", 3), synced(7)}}, 7, []string{"begin", "a", "synced"}},
		"changes":                        {[][]*wire.Event{{synced(7), put("b", 9)}}, 9, []string{"begin", "synced", "b"}},
		"out of turn":                    {[][]*wire.Event{{synced(7), aside}}, 7, []string{"begin", "synced", "x"}},
		"goes on":                        {[][]*wire.Event{{synced(7)}, {resumed, put("c", 9), synced(12)}}, 12, []string{"begin", "synced", "c"}},
		"goes on, cut off in the middle": {[][]*wire.Event{{synced(7)}, {resumed, put("c", 9)}}, 9, []string{"begin", "synced", "c"}},
		"cannot go on":                   {[][]*wire.Event{{synced(7)}, {put("a", 8), synced(12)}}, 12, []string{"begin", "synced", "begin", "a", "synced"}},
		"cannot go on and is cut off":    {[][]*wire.Event{{synced(7)}, {put("a", 8)}}, 0, []string{"begin", "synced", "begin", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal{}
			w := watch{sink: j}
			for _, events := range c.watches {
				for i, e := range events {
					w.take(e, i == 0)
				}
			}
			if w.known != c.known || !slices.Equal(j.told, c.told) {
				t.Errorf("knows %d and was told %v, want %d and %v", w.known, j.told, c.known, c.told)
			}
		})
	}
}
