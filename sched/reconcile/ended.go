package reconcile

import (
	"cmp"
	"slices"
	"strings"
)

// endedKey is the only key of its area.
var endedKey = key{area: areaEnded}

// noteEnded keeps the pods that have ended. When there are too many, somebody will look after a while, so that
// many that end one after the other are sorted once.
func (e *Engine) noteEnded(p *pod) {
	if e.cfg.EndedPodsMax == 0 || !p.rec.Terminal() {
		return
	}
	e.ended[p.rec.UID] = p
	if _, due := e.due[endedKey]; !due && len(e.ended) > e.cfg.EndedPodsMax {
		e.wake(endedKey, e.now.Add(endedPodsPause))
	}
}

// syncEnded deletes the oldest pods that have ended, down to the number that is kept; also those that are being deleted and whose
// node, being dead, will not say that nothing is left of them.
func (e *Engine) syncEnded(key) {
	var list []*pod
	for _, p := range e.ended {
		if p.doom != gone {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *pod) int {
		return cmp.Or(cmp.Compare(a.rec.Created, b.rec.Created), strings.Compare(a.ns(), b.ns()), strings.Compare(a.name(), b.name()))
	})
	for _, p := range list[:max(0, len(list)-e.cfg.EndedPodsMax)] {
		e.doomPod(p, 0)
	}
}
