package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// base is when virtual time begins on every clock.
var base = time.Unix(1_700_000_000, 0).UTC()

// event is something that happens at a time.
type event struct {
	at    time.Duration // since base, in true time
	order int           // of its making: ties are broken by it
	do    func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(event)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return x
}

// world is time, chance and the story.
type world struct {
	now    time.Duration
	events queue
	made   int
	rng    *rand.Rand
	story  *strings.Builder // nil tells none
	failed error            // the first broken invariant
}

func (w *world) after(d time.Duration, do func()) {
	w.made++
	heap.Push(&w.events, event{w.now + max(d, 0), w.made, do})
}

// step lets the next event happen; false if there is none before the time.
func (w *world) step(until time.Duration) bool {
	if len(w.events) == 0 || w.events[0].at > until || w.failed != nil {
		return false
	}
	e := heap.Pop(&w.events).(event)
	w.now = e.at
	e.do()
	return true
}

// between draws a duration.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)+1))
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

// tell adds a line to the story.
func (w *world) tell(who, sign string, what ...string) {
	if w.story != nil {
		fmt.Fprintf(w.story, "%8.3f %-3s %s %s\n", w.now.Seconds(), who, sign, strings.Join(what, " "))
	}
}

func (w *world) fail(invariant, format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("%.3f %s: %s", w.now.Seconds(), invariant, fmt.Sprintf(format, args...))
		w.tell("!!!", invariant, fmt.Sprintf(format, args...))
	}
}

// process is a program on a machine. What is sent to it waits while it is stopped, and is lost with it.
type process struct {
	w       *world
	machine *machine
	name    string
	up      bool
	life    int // counts its starts
	stopped bool
	waiting []func()
}

// machine has a clock: local = true * rate.
type machine struct {
	name   string
	rate   float64
	stands bool // paused as a whole
}

func (m *machine) local(t time.Duration) time.Duration { return time.Duration(float64(t) * m.rate) }

// clock is the machine's own time; it runs while the machine stands still, as CLOCK_BOOTTIME does.
func (p *process) clock() time.Duration { return p.machine.local(p.w.now) }

func (p *process) time() time.Time { return base.Add(p.clock()) }

// run does something in the process: now, when it goes on, or never if it is not the same life of it.
func (p *process) run(life int, do func()) {
	switch {
	case !p.up || p.life != life:
	case p.stopped || p.machine.stands:
		p.waiting = append(p.waiting, func() { p.run(life, do) })
	default:
		do()
	}
}

// sleep does something after a time on the machine's own clock.
func (p *process) sleep(d time.Duration, do func()) {
	life := p.life
	p.w.after(time.Duration(float64(max(d, 0))/p.machine.rate)+1, func() { p.run(life, do) })
}

// goOn does what has come while the process stood.
func (p *process) goOn() {
	if p.stopped || p.machine.stands {
		return
	}
	list := p.waiting
	p.waiting = nil
	for _, do := range list {
		do()
	}
}

func (p *process) start() {
	p.up, p.stopped, p.waiting = true, false, nil
	p.life++
}

func (p *process) end() { p.up, p.waiting = false, nil }
