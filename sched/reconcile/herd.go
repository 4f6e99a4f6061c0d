package reconcile

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// herd is a set of pods in no order, for a fifth of the memory that a map takes.
type herd []*pod

// Seats are the herds in which a pod remembers its place: those of its node and of its first owner. In the herds of further owners,
// which hardly any pod has, it is looked for.
const (
	seatNode = iota
	seatOwner
	seats
)

// add takes in a pod that is not in the herd.
func (h *herd) add(p *pod, seat int) {
	if seat < seats {
		p.seats[seat] = int32(len(*h))
	}
	*h = append(*h, p)
}

// drop takes out a pod, if it is in the herd, and puts the last one in its place.
func (h *herd) drop(p *pod, seat int) {
	at := h.find(p, seat)
	if at < 0 {
		return
	}
	last := len(*h) - 1
	moved := (*h)[last]
	(*h)[at], (*h)[last] = moved, nil
	if seat < seats {
		moved.seats[seat] = int32(at)
	}
	*h = (*h)[:last]
	if cap(*h) > 4*len(*h) {
		*h = slices.Clone(*h)
	}
}

// find looks at the pod's seat first. It may be wrong if a pod of the herd has the herd's owner as a further one.
func (h *herd) find(p *pod, seat int) int {
	if seat < seats {
		if at := int(p.seats[seat]); at < len(*h) && (*h)[at] == p {
			return at
		}
	}
	return slices.Index(*h, p)
}

// owners yields the UIDs of the pod's owners, each once, and the seat that the pod has in the owner's herd.
func (p *pod) owners(yield func(seat int, uid types.UID) bool) {
	list := p.rec.Template.Pod.OwnerReferences
	for i := range list {
		if i > 0 && namedBefore(p, i) {
			continue
		}
		if !yield(seatOwner+i, list[i].UID) {
			return
		}
	}
}

func namedBefore(p *pod, i int) bool {
	list := p.rec.Template.Pod.OwnerReferences
	for k := range i {
		if list[k].UID == list[i].UID {
			return true
		}
	}
	return false
}

// podsOn are the pods of a node.
func (m *model) podsOn(node string) herd {
	if on := m.onNode[node]; on != nil {
		return *on
	}
	return nil
}
