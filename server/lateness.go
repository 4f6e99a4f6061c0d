package server

import (
	"sync"
	"time"
)

// lateness is what a follower remembers of a leader's silences that ended. Where servers have more to do than their machines can, heartbeats
// come late; to depose the leader for it gives everybody more to do. So one that was late and came back may be that late again, and
// more, for a while. Where nobody is late nothing changes.
type lateness struct {
	mu   sync.Mutex
	most time.Duration // the longest silence that counts
	at   time.Time     // when it ended
}

// heard compares two looks, which were so far apart, at how long the leader was silent. A silence that was long at the first one and is over
// by the second counts.
func (l *lateness) heard(before, now, apart time.Duration) {
	if before < leaderQuiet || now >= before+apart/2 {
		return
	}
	l.note(before + apart - now)
}

func (l *lateness) note(silence time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if silence > l.left() {
		l.most, l.at = silence, time.Now()
	}
}

// left is what the longest silence counts for by now.
func (l *lateness) left() time.Duration {
	d := l.most
	for age := time.Since(l.at); age >= lateHalf && d > 0; age -= lateHalf {
		d /= 2
	}
	return d
}

// stretch makes a time that is right for a punctual leader right for this one.
func (l *lateness) stretch(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := min(max(lateFactor*l.left(), leaderSilent), silentMost)
	return time.Duration(float64(d) * float64(silent) / float64(leaderSilent))
}
