package agent

import (
	"time"
)

// stuckAfter is how long after KILL a container's end is waited for before its sandbox is removed anyway.
const stuckAfter = 10 * time.Second

// nextStop ends the pod: the main containers together, then the sidecars one by one in reverse order,
// what is left at the deadline by force, then the sandbox, then the pod object.
func (l *life) nextStop(now time.Time) (action, time.Time) {
	var alarm alarm
	if l.starting != nil || l.sandbox == sandboxStarting {
		if l.cancelled {
			return action{}, time.Time{}
		}
		l.cancelled = true
		return action{kind: actCancel}, time.Time{}
	}
	if c := l.nextToStop(); c != nil {
		c.stop, c.deadline = stopAsked, l.deadline
		return action{kind: actStop, c: c}, time.Time{}
	}
	if a := l.nextKill(now, &alarm); a.kind != actNone {
		return a, time.Time{}
	}
	if l.waitsForEnds(now, &alarm) {
		return action{}, alarm.Time
	}
	if l.sandbox == sandboxReady || l.sandbox == sandboxHalf {
		if !alarm.due(l.notBefore, now) {
			return action{}, alarm.Time
		}
		l.sandbox = sandboxRemoving
		return action{kind: actTeardown}, time.Time{}
	}
	if l.quiet() && l.pod.DeletionTimestamp != nil && !l.removed && !l.finalSent {
		l.finalSent = true
		return action{kind: actFinal}, time.Time{}
	}
	return action{}, alarm.Time
}

// nextToStop is a running container that was not asked to end yet and whose turn it is.
func (l *life) nextToStop() *container {
	mains := 0
	for _, c := range l.conts {
		if c.state != cRunning || c.role == roleSidecar {
			continue
		}
		mains++
		if c.stop == stopNone {
			return c
		}
	}
	if mains > 0 {
		return nil
	}
	for i := len(l.conts) - 1; i >= 0; i-- {
		if c := l.conts[i]; c.role == roleSidecar && c.state == cRunning {
			if c.stop == stopNone {
				return c
			}
			return nil
		}
	}
	return nil
}

// waitsForEnds says whether a running container's end is still worth waiting for. Past the deadline the
// sidecars' turn is over too, so every container is killed.
func (l *life) waitsForEnds(now time.Time, alarm *alarm) bool {
	waits := false
	for _, c := range l.conts {
		if c.state != cRunning {
			continue
		}
		switch {
		case c.stop != stopKilled:
			alarm.at(l.deadline)
			waits = true
		case !alarm.due(c.killed.Add(stuckAfter), now):
			waits = true
		}
	}
	return waits
}
