package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// roll makes one move of the strategy: never two that depend on one another, since a move counts
// only once its pods have been seen.
func (r *rollout) roll() {
	if !r.rolling() {
		r.recreate()
	} else {
		r.needCurrent()
		if r.current != nil && !r.growCurrent() {
			r.shrinkOlds()
		}
	}
	if r.complete() {
		r.cleanUp()
	}
}

// recreate ends every old pod before it makes the first new one.
func (r *rollout) recreate() {
	r.adoptRevision()
	for _, m := range r.olds() {
		if m.spec() != 0 {
			r.scale(m, 0)
		}
	}
	for _, m := range r.olds() {
		if m.spec() != 0 || m.touched || r.e.living(m.pods) {
			return
		}
	}
	r.needCurrent()
	if r.current != nil {
		r.scale(r.current, r.replicas())
	}
}

// living says whether pods of the flock may still be running, terminating ones included.
func (e *Engine) living(f *flock) bool { return f.active > 0 || f.terminating > 0 }

// growCurrent gives the current member its size, as far as the surge allows.
func (r *rollout) growCurrent() (moved bool) {
	want := r.replicas()
	if r.current.spec() < want {
		want = r.roomForCurrent()
	}
	return r.scale(r.current, want)
}

// roomForCurrent is the size that the current member may have now.
func (r *rollout) roomForCurrent() int32 {
	if !r.rolling() {
		return r.replicas()
	}
	have := r.current.spec()
	room := r.mostPods() - sum(r.members, specOf)
	return have + max(0, min(room, r.replicas()-have))
}

// shrinkOlds takes pods from the old members: those that are not available first, then as many
// available ones as the minimum allows.
func (r *rollout) shrinkOlds() {
	olds := r.olds()
	if sum(olds, specOf) == 0 {
		return
	}
	_, unavailable := r.bounds()
	least := r.replicas() - unavailable
	newMissing := max(0, r.current.spec()-int32(r.current.available))
	spare := sum(r.members, specOf) - least - newMissing
	if spare <= 0 {
		return
	}
	for _, m := range olds { // broken pods give nothing to keep
		n := min(spare, m.spec()-int32(m.available))
		if n > 0 {
			r.scale(m, m.spec()-n)
			spare -= n
		}
	}
	// What is available beyond the minimum may go. An available pod that a member is about to lose
	// anyway (its size is already smaller) is not counted as there.
	there := sum(r.members, func(m *member) int32 { return min(m.spec(), int32(m.available)) })
	for _, m := range olds {
		n := min(there-least, m.spec())
		if n > 0 {
			r.scale(m, m.spec()-n)
			there -= n
		}
	}
}

// isScaling says whether the deployment's size changed since its members were last sized.
func (r *rollout) isScaling() bool {
	for _, m := range r.members {
		if m.spec() == 0 {
			continue
		}
		n, err := strconv.ParseInt(m.rs.Annotations[desiredAnnotation], 10, 32)
		if err == nil && int32(n) != r.replicas() {
			return true
		}
	}
	return false
}

// scaleEvenly sizes the members for a new replica count (or a paused deployment): the only active
// one gets all; in the middle of a rollout each gets its share, so that a scaled rollout risks no
// more than it did.
func (r *rollout) scaleEvenly() {
	if m, single := r.activeOrLatest(); single {
		if m != nil {
			r.scale(m, r.replicas())
		}
		return
	}
	if r.saturated() {
		for _, m := range r.olds() {
			r.scale(m, 0)
		}
		return
	}
	if r.rolling() {
		r.scaleShares()
	}
}

// activeOrLatest is the only member with a size, or the current or newest one if none has.
func (r *rollout) activeOrLatest() (m *member, single bool) {
	for _, x := range r.members {
		if x.spec() > 0 {
			if m != nil {
				return nil, false
			}
			m = x
		}
	}
	switch {
	case m != nil:
		return m, true
	case r.current != nil:
		return r.current, true
	case len(r.members) > 0:
		return r.members[len(r.members)-1], true
	}
	return nil, true
}

// saturated says whether the current member has everything it will have.
func (r *rollout) saturated() bool {
	m := r.current
	if m == nil {
		return false
	}
	n, err := strconv.ParseInt(m.rs.Annotations[desiredAnnotation], 10, 32)
	return err == nil && m.spec() == r.replicas() && int32(n) == r.replicas() && int32(m.available) == r.replicas()
}

func (r *rollout) scaleShares() {
	active := slices.DeleteFunc(slices.Clone(r.members), func(m *member) bool { return m.spec() == 0 })
	have, allowed := sum(active, specOf), int32(0)
	if r.replicas() > 0 {
		allowed = r.mostPods()
	}
	left := allowed - have
	// The biggest first; among equals the newest first when growing, the oldest when shrinking.
	slices.SortStableFunc(active, func(a, b *member) int {
		age := a.rs.CreationTimestamp.Compare(b.rs.CreationTimestamp.Time)
		if left > 0 {
			age = -age
		}
		return cmp.Or(-cmp.Compare(a.spec(), b.spec()), age, strings.Compare(a.rs.Name, b.rs.Name))
	})
	sizes := make([]int32, len(active))
	for i, m := range active {
		n := share(m, left, r.replicas(), allowed, allowed-have)
		sizes[i] = m.spec() + n
		left -= n
	}
	if len(sizes) > 0 { // what rounding left over
		sizes[0] = max(0, sizes[0]+left)
	}
	r.keepAvailable(active, sizes)
	for i, m := range active {
		r.scale(m, sizes[i])
		r.annotateSize(m.edit())
	}
}

// keepAvailable moves losses from pods that are needed for the minimum to those that are not available. Bounds in percent shrink with the
// deployment, so that shares alone could take too much.
func (r *rollout) keepAvailable(active []*member, sizes []int32) {
	_, unavailable := r.bounds()
	missing := r.replicas() - unavailable
	for i, m := range active {
		missing -= min(sizes[i], int32(m.available))
	}
	for i, m := range active {
		for k, other := range active {
			n := min(missing, min(m.spec(), int32(m.available))-sizes[i], sizes[k]-int32(other.available))
			if n > 0 {
				sizes[i], sizes[k], missing = sizes[i]+n, sizes[k]-n, missing-n
			}
		}
	}
}

// share is a member's part of what is to be added (or taken), at most what is left. The reference
// is the size that all members together had when they were last sized.
func share(m *member, left, replicas, allowed, whole int32) int32 {
	if m.spec() == 0 || left == 0 || whole == 0 {
		return 0
	}
	was, err := strconv.ParseInt(m.rs.Annotations[mostAnnotation], 10, 32)
	if err != nil || was == 0 {
		was = int64(replicas)
	}
	if was == 0 {
		return 0
	}
	n := int32((2*int64(m.spec())*int64(allowed)+was)/(2*was)) - m.spec() // rounded to nearest
	if whole > 0 {
		return min(max(n, 0), left)
	}
	return max(min(n, 0), left)
}

// scale sets a member's size; it reports whether that was another one.
func (r *rollout) scale(m *member, n int32) bool {
	from := m.spec()
	if m.o == nil {
		return false // it was created with the size that it may have
	}
	sized := m.rs.Annotations[desiredAnnotation] == strconv.Itoa(int(r.replicas())) &&
		m.rs.Annotations[mostAnnotation] == strconv.Itoa(int(r.mostPods()))
	if from == n && (sized || n == 0) {
		return false
	}
	rs := m.edit()
	r.annotateSize(rs)
	if from == n {
		return false
	}
	rs.Spec.Replicas = &n
	rs.Generation++
	r.sayScaled(rs.Name, from, n)
	return true
}

func (r *rollout) annotateSize(rs *appsv1.ReplicaSet) {
	rs.Annotations[desiredAnnotation] = strconv.Itoa(int(r.replicas()))
	rs.Annotations[mostAnnotation] = strconv.Itoa(int(r.mostPods()))
}

func (r *rollout) sayScaled(name string, from, to int32) {
	direction := "up"
	if to < from {
		direction = "down"
	}
	r.e.event(r.d, deploymentKind, corev1.EventTypeNormal, "ScalingReplicaSet", "deployment-controller",
		fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, name, from, to))
}
