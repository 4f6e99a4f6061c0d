package share

import (
	"slices"
	"time"
)

// table is what a keeper knows: for each digest the nodes that fetch or have its blob, in the order in which they asked.
// It reads no clock and does no I/O.
//
// Invariant: following who fetches from whom ends at the registry or at a node that has the blob, so nobody waits in a
// circle. Who has asked first has more of the blob; who has given up and begins anew is the last.
type table struct {
	blobs map[string]*blob
}

type blob struct {
	holders []*holder // in the order of their first question
	touched time.Time
}

type holder struct {
	node   string
	whole  bool
	gone   bool      // it could not give, or has given up: nobody is sent there, but who waits for it still does
	parent string    // from whom it fetches; "" is the registry. It may have given up meanwhile.
	since  time.Time // of its last word
}

func newTable() *table { return &table{blobs: map[string]*blob{}} }

// ask says from which node the asker is to fetch; "" is the registry. failed is a node that could not give the blob.
func (t *table) ask(now time.Time, digest, asker, failed string) string {
	b := t.blobs[digest]
	if b == nil {
		t.makeRoom()
		b = &blob{}
		t.blobs[digest] = b
	}
	b.touched = now
	b.expire(now)
	if f := b.index(failed); f >= 0 {
		b.holders[f].gone, b.holders[f].whole = true, false
	}
	at := b.index(asker)
	if at >= 0 && (b.holders[at].gone || b.holders[at].whole) {
		b.holders = slices.Delete(b.holders, at, at+1)
		at = -1
	}
	if at < 0 {
		b.holders = append(b.holders, &holder{node: asker})
		at = len(b.holders) - 1
	}
	h := b.holders[at]
	h.since, h.whole, h.parent = now, false, "" // who asks does not have it
	h.parent = b.parentFor(at)
	return h.parent
}

// parentFor is the first of those who asked before, or have it, that has room for a child; if none has, the one with the fewest.
func (b *blob) parentFor(at int) string {
	children := map[string]int{}
	for _, h := range b.holders {
		children[h.parent]++
	}
	best := ""
	for i, h := range b.holders {
		if i == at || h.gone || !h.whole && i > at || b.waitsFor(h, b.holders[at].node) {
			continue
		}
		if children[h.node] < childrenMax {
			return h.node
		}
		if best == "" || children[h.node] < children[best] {
			best = h.node
		}
	}
	return best
}

// waitsFor says whether h gets the blob, however indirectly, from a node.
func (b *blob) waitsFor(h *holder, node string) bool {
	for range b.holders { // no chain is longer
		if h.whole || h.parent == "" {
			return false
		}
		if h.parent == node {
			return true
		}
		at := b.index(h.parent)
		if at < 0 {
			return false
		}
		h = b.holders[at]
	}
	return true
}

// done notes that a node has the blob, or has given it up.
func (t *table) done(now time.Time, digest, node string, here bool) {
	b := t.blobs[digest]
	if b == nil {
		return
	}
	at := b.index(node)
	if at < 0 {
		return
	}
	h := b.holders[at]
	h.whole, h.gone, h.parent, h.since = here, !here, "", now
}

func (b *blob) index(node string) int {
	return slices.IndexFunc(b.holders, func(h *holder) bool { return h.node == node })
}

// expire forgets who has said nothing for too long.
func (b *blob) expire(now time.Time) {
	b.holders = slices.DeleteFunc(b.holders, func(h *holder) bool {
		life := fetchMax
		if h.whole {
			life = keptFor
		}
		return now.Sub(h.since) > life
	})
}

// makeRoom forgets the digest that nobody has asked for the longest.
func (t *table) makeRoom() {
	if len(t.blobs) < digestsMax {
		return
	}
	oldest := ""
	for d, b := range t.blobs {
		if oldest == "" || b.touched.Before(t.blobs[oldest].touched) {
			oldest = d
		}
	}
	delete(t.blobs, oldest)
}
