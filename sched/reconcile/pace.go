package reconcile

import "time"

// pacing keeps what is written about things that move in proportion to how many of them move.
type pacing struct {
	// told is when a workload's status was written, if that was in this pause; before has those of the last one.
	told, before map[key]time.Time
	turned       time.Time // when this pause began
	spent        time.Time // up to when the allowance of events is used up; it grows with the time since
}

func newPacing() pacing { return pacing{told: map[key]time.Time{}, before: map[key]time.Time{}} }

// hold says whether a status has to wait because one of the same workload was written a moment ago; then the key comes back. What is
// settled, so that no more is to come, never waits. Each pod's change would be three writes of an object otherwise: a Deployment of
// ten, whose pods start on ten nodes, would be written twenty times.
func (e *Engine) hold(k key, settled bool) bool {
	if e.cfg.StatusPause == 0 {
		return false
	}
	at, written := e.pace.at(k)
	until := at.Add(e.statusPause())
	if written && !settled && e.now.Before(until) {
		e.wake(k, until)
		return true
	}
	e.noteTold(k)
	return false
}

// statusPause is longer when many workloads have said something lately: of each, one status more on the way to its last one is a write on
// every server that tells nobody what to do.
func (e *Engine) statusPause() time.Duration {
	if len(e.pace.told)+len(e.pace.before) < crowdedWorkloads {
		return e.cfg.StatusPause
	}
	return crowdedPauses * e.cfg.StatusPause
}

// noteTold begins the pause of a workload whose status, or which itself, is being written.
func (e *Engine) noteTold(k key) {
	if e.cfg.StatusPause == 0 {
		return
	}
	p := &e.pace
	if e.now.Sub(p.turned) >= e.statusPause() {
		p.told, p.before, p.turned = map[key]time.Time{}, p.told, e.now
	}
	p.told[k] = e.now
}

func (p *pacing) at(k key) (time.Time, bool) {
	if at, ok := p.told[k]; ok {
		return at, true
	}
	at, ok := p.before[k]
	return at, ok
}

// mayTell says whether n pods get events of their own, of which each has so many: a big batch does not, and none has when there were
// many a moment ago. The allowance is podEventsBurst, and grows by the configured rate. Warnings are not asked about here.
func (e *Engine) mayTell(n, each int) bool {
	if n > eventsPerStepMax {
		return false
	}
	if e.cfg.PodEventsPerSecond == 0 {
		return true
	}
	one := time.Second / time.Duration(e.cfg.PodEventsPerSecond)
	p := &e.pace
	if full := e.now.Add(-podEventsBurst * one); p.spent.Before(full) {
		p.spent = full
	}
	cost := time.Duration(n*each) * one
	if e.now.Sub(p.spent) < cost {
		return false
	}
	p.spent = p.spent.Add(cost)
	return true
}
