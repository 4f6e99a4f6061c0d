package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

// Annotations of pods that are placed together or not at all.
const (
	// GangName names the gang, in the pod's namespace.
	GangName = "peapod.sh/gang"
	// GangSize is how many pods of the gang must have a place before any gets one.
	GangSize = "peapod.sh/gang-size"
)

// gangOf is the name of the pod's gang; "" is none.
func gangOf(p *corev1.Pod) string {
	if len(p.Annotations) == 0 {
		return ""
	}
	return p.Annotations[GangName]
}

// gangSize is the biggest size that a member names; at least 1.
func gangSize(g []*pod) int {
	size := 1
	for _, p := range g {
		if n, err := strconv.Atoi(p.rec.Template.Pod.Annotations[GangSize]); err == nil {
			size = max(size, n)
		}
	}
	return size
}

func gangKey(p *pod) string { return p.ns() + "/" + gangOf(p.rec.Template.Pod) }

// countInGang keeps which members have a node and stay there.
func (e *Engine) countInGang(p *pod) {
	if gangOf(p.rec.Template.Pod) == "" {
		return
	}
	if p.rec.Node == "" || p.rec.Deleting() || p.rec.Terminal() {
		e.leaveGang(p)
		return
	}
	k := gangKey(p)
	if e.gangs[k] == nil {
		e.gangs[k] = map[types.UID]struct{}{}
	}
	e.gangs[k][p.rec.UID] = struct{}{}
}

func (e *Engine) leaveGang(p *pod) {
	if gangOf(p.rec.Template.Pod) == "" {
		return
	}
	k := gangKey(p)
	delete(e.gangs[k], p.rec.UID)
	if len(e.gangs[k]) == 0 {
		delete(e.gangs, k)
	}
}

// gatherGangs has members that wait tried again together with those that come.
func (e *Engine) gatherGangs() {
	coming := map[string]bool{}
	for _, p := range e.pending.fresh {
		if gangOf(p.rec.Template.Pod) != "" {
			coming[gangKey(p)] = true
		}
	}
	if len(coming) == 0 {
		return
	}
	for uid, p := range e.pending.waiting {
		if gangOf(p.rec.Template.Pod) != "" && coming[gangKey(p)] {
			e.pending.fresh[uid] = p
			delete(e.pending.waiting, uid)
		}
	}
}

// placeGang places the pending members of a gang if it then has as many pods with a place as it wants, otherwise none of them.
func (e *Engine) placeGang(g []*pod) {
	size, there := gangSize(g), len(e.gangs[gangKey(g[0])])
	parts := byTemplate(g)
	if there >= size {
		for _, part := range parts {
			e.placeGroup(part)
		}
		return
	}
	if there+len(g) < size {
		e.refuseGang(g, fmt.Sprintf("%d of %d pods exist.", there+len(g), size))
		return
	}
	try := &gangTry{placed: map[*pod]string{}}
	for _, part := range parts {
		e.tryPart(try, part)
	}
	switch fit := there + len(try.placed); {
	case fit >= size:
		e.settleGang(g, try)
	case e.waitsForAny(g):
		e.keepGang(g, try, fmt.Sprintf("%d of %d pods fit. %s preemption: not eligible due to a terminating pod on the nominated node.", fit, size, try.reason))
	case e.preemptGang(try, size-fit):
		e.nominateGang(g, try, fmt.Sprintf("%d of %d pods fit. %s", fit, size, try.reason))
	default:
		e.undo(g)
		e.refuseGang(g, fmt.Sprintf("%d of %d pods fit. %s %s", fit, size, try.reason, try.why))
	}
}

// gangTry is where the members would go.
type gangTry struct {
	placed      map[*pod]string
	left        [][]*pod // those without a place, equal ones together
	reason, why string
	nominations map[*pod]sched.Nomination
}

func byTemplate(g []*pod) (out [][]*pod) {
	at := map[*api.PodTemplate]int{}
	for _, p := range g {
		i, there := at[p.rec.Template]
		if !there {
			i = len(out)
			at[p.rec.Template] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func (e *Engine) tryPart(try *gangTry, part []*pod) {
	if usesClaims(part[0].rec.Spec()) {
		for _, p := range part {
			e.tryUser(try, p)
		}
		return
	}
	uids := make([]types.UID, len(part))
	for i, p := range part {
		uids[i] = p.rec.UID
	}
	d := e.table.Place(sched.Group{Template: part[0].rec.Template, UIDs: uids})
	for i, p := range part[:d.Placed] {
		try.placed[p] = d.Nodes[i]
	}
	if d.Placed < len(part) {
		try.left = append(try.left, part[d.Placed:])
		try.reason = d.Reason
	}
}

// tryUser looks for a place for a member with claims. What it would take of volumes is not taken yet.
func (e *Engine) tryUser(try *gangTry, p *pod) {
	d, cause, soon := e.demandOf(p)
	if soon || cause != "" {
		try.reason = e.table.Unavailable(cmp.Or(cause, causeUnbound))
		return
	}
	got := e.table.Place(sched.Group{Template: p.rec.Template, UIDs: []types.UID{p.rec.UID}, Fit: func(n *corev1.Node) string { return e.objection(d, n) }})
	if try.placed[p] = got.Nodes[0]; got.Placed == 0 {
		delete(try.placed, p)
		try.reason = got.Reason
	}
}

// settleGang binds the members that have a place; those beyond the size that have none wait.
func (e *Engine) settleGang(g []*pod, try *gangTry) {
	withEvents := e.mayTell(len(g), 1)
	for _, p := range g {
		if node := try.placed[p]; usesClaims(p.rec.Spec()) {
			e.table.RemovePod(p.rec.UID)
			e.placeUser(p)
		} else if node != "" {
			e.bindPlaced(p, node, withEvents)
		}
	}
	for _, left := range try.left {
		e.makeRoom(left, try.reason, nil)
	}
}

// preemptGang looks for victims for as many more members as are wanted. Nothing is decided yet.
func (e *Engine) preemptGang(try *gangTry, wanted int) bool {
	try.nominations = map[*pod]sched.Nomination{}
	d := e.newDisruptions()
	for _, left := range try.left {
		left = left[:min(len(left), wanted)]
		if len(left) == 0 {
			break
		}
		list, why := e.preempt(left, nil, d)
		for i, p := range left {
			if list[i].Node != "" {
				try.nominations[p] = list[i]
				wanted--
			}
		}
		try.why = why
	}
	return wanted == 0
}

// nominateGang has the victims go, and keeps every member's room until they all can have it.
func (e *Engine) nominateGang(g []*pod, try *gangTry, reason string) {
	all := slices.Collect(maps.Values(try.nominations))
	for _, p := range g {
		if n, there := try.nominations[p]; there {
			e.nominate(p, n, countVictims(all) <= eventsPerStepMax)
		}
	}
	e.keepGang(g, try, reason)
}

// keepGang has the members wait where they have or will have a place.
func (e *Engine) keepGang(g []*pod, try *gangTry, reason string) {
	for _, p := range g {
		if node := try.placed[p]; node != "" {
			e.nominated[p.rec.UID] = node
		}
		if e.nominated[p.rec.UID] != "" {
			e.reserve(p)
		}
	}
	e.refuseGang(g, reason)
}

func (e *Engine) waitsForAny(g []*pod) bool { return slices.ContainsFunc(g, e.waitsForVictims) }

// undo takes all places and nominations back.
func (e *Engine) undo(g []*pod) {
	for _, p := range g {
		e.table.RemovePod(p.rec.UID)
		delete(e.nominated, p.rec.UID)
	}
}

func (e *Engine) refuseGang(g []*pod, reason string) {
	for _, p := range g {
		e.pending.wait(p)
		e.tellUnschedulable(p, fmt.Sprintf("gang %s: %s", gangOf(p.rec.Template.Pod), reason), len(g) <= eventsPerStepMax)
	}
}
