package server

import (
	"runtime"
	"time"
)

// breather lets others have the processor from time to time while a goroutine has much to do at once. Go itself takes it away after
// 10 ms only, and with two processors, of which the log has the other one, a read that passes through several goroutines waited for
// that again and again.
type breather struct{ since time.Time }

// begin is the beginning of work: what comes soon after it needs no rest.
func (b *breather) begin() { b.since = time.Now() }

// rest is called between small pieces of work.
func (b *breather) rest() {
	if now := time.Now(); now.Sub(b.since) >= breathInterval {
		runtime.Gosched()
		b.begin()
	}
}
