package reconcile

import (
	"hash/maphash"
	"iter"
	"slices"
)

// roll finds pods by a key that each of them has by itself, its name or its UID. A map would hold every key once more, as a string header: it
// takes three times the memory, of which the collector has to look at all, and a pod that is entered costs it three times as much.
//
// It is open addressing with a byte of the hash for each place. A large roll is parted by hash, so that growing stops nobody for long.
type roll struct {
	key   func(*pod) string
	parts []rollPart // one, or rollParts
	n     int
}

// rollPart is the pods whose hashes lie in one range. Invariant: used <= 7/8 * len(pods), so that every search ends.
type rollPart struct {
	tags []uint8 // of each place: nobody, somebodyLeft, or the pod's
	pods []*pod
	used int // places that have or had a pod
	n    int // that have one
}

const (
	nobody       = 0
	somebodyLeft = 1 // who searches goes on
	firstTag     = 2

	rollPartBits = 8
	rollParts    = 1 << rollPartBits
	// wholeRollMax is how many pods a roll of one part has.
	wholeRollMax = 4096
	rollPartMin  = 8
)

var rollSeed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(rollSeed, key) }

func uidOf(p *pod) string { return string(p.rec.UID) }

func newRoll(key func(*pod) string) *roll { return &roll{key: key, parts: make([]rollPart, 1)} }

// expect makes room for n more.
func (r *roll) expect(n int) {
	if r.n+n > wholeRollMax {
		r.divide()
	}
	for i := range r.parts {
		p := &r.parts[i]
		share := n / len(r.parts)
		p.resize(r, (p.n+share+share/16)*5/4) // parts are not quite equal
	}
}

// get is the pod with the key; nil if there is none.
func (r *roll) get(key string) *pod {
	if r.n == 0 {
		return nil
	}
	h := hashOf(key)
	p := r.part(h)
	if i := p.find(r, key, h); i >= 0 {
		return p.pods[i]
	}
	return nil
}

// put enters a pod in place of another with its key.
func (r *roll) put(x *pod) {
	key := r.key(x)
	h := hashOf(key)
	if p := r.part(h); r.n > 0 {
		if i := p.find(r, key, h); i >= 0 {
			p.pods[i] = x
			return
		}
	}
	r.enter(x, h)
}

// enter is put for a pod whose key nobody has. It looks at no other pod.
func (r *roll) enter(x *pod, h uint64) {
	if r.n == wholeRollMax {
		r.divide()
	}
	p := r.part(h)
	if p.used >= len(p.pods)*7/8 {
		p.resize(r, max(rollPartMin, p.n*3/2))
	}
	p.enter(x, h)
	r.n++
}

// drop takes out the pod with the key, if there is one.
func (r *roll) drop(key string) {
	if r.n == 0 {
		return
	}
	h := hashOf(key)
	p := r.part(h)
	i := p.find(r, key, h)
	if i < 0 {
		return
	}
	p.tags[i], p.pods[i] = somebodyLeft, nil
	p.n--
	r.n--
	if len(p.pods) > 8*max(p.n, rollPartMin) {
		p.resize(r, p.n*3/2)
	}
}

// all yields every pod, in no order. The roll must not change meanwhile.
func (r *roll) all() iter.Seq[*pod] {
	return func(yield func(*pod) bool) {
		for i := range r.parts {
			for _, x := range r.parts[i].pods {
				if x != nil && !yield(x) {
					return
				}
			}
		}
	}
}

func (r *roll) part(h uint64) *rollPart {
	if len(r.parts) == 1 {
		return &r.parts[0]
	}
	return &r.parts[h>>(64-rollPartBits)]
}

// divide makes many parts of one.
func (r *roll) divide() {
	if len(r.parts) > 1 {
		return
	}
	whole := r.parts[0].pods
	r.parts, r.n = make([]rollPart, rollParts), 0
	for _, x := range whole {
		if x != nil {
			r.enter(x, hashOf(r.key(x)))
		}
	}
}

func tagOf(h uint64) uint8 { return firstTag + uint8(h>>32)%(255-firstTag) }

// first is the place at which a search begins: the hash's lower half, as a share of all places.
func (p *rollPart) first(h uint64) int { return int(uint64(uint32(h)) * uint64(len(p.pods)) >> 32) }

// find is the place of the pod with the key; -1 if there is none.
func (p *rollPart) find(r *roll, key string, h uint64) int {
	if p.used == 0 {
		return -1
	}
	tag := tagOf(h)
	for i := p.first(h); ; {
		switch p.tags[i] {
		case nobody:
			return -1
		case tag:
			if r.key(p.pods[i]) == key {
				return i
			}
		}
		if i++; i == len(p.pods) {
			i = 0
		}
	}
}

func (p *rollPart) enter(x *pod, h uint64) {
	i := p.first(h)
	for p.tags[i] >= firstTag {
		if i++; i == len(p.pods) {
			i = 0
		}
	}
	if p.tags[i] == nobody {
		p.used++
	}
	p.tags[i], p.pods[i] = tagOf(h), x
	p.n++
}

// resize makes so many places, or as many as the pods need.
func (p *rollPart) resize(r *roll, places int) {
	was := p.pods
	places = max(places, rollPartMin, p.n*5/4+1)
	p.tags, p.pods, p.used, p.n = slices.Grow([]uint8(nil), places), slices.Grow([]*pod(nil), places), 0, 0
	places = min(cap(p.tags), cap(p.pods)) // what the allocator gives anyway
	p.tags, p.pods = p.tags[:places], p.pods[:places]
	for _, x := range was {
		if x != nil {
			p.enter(x, hashOf(r.key(x)))
		}
	}
}
