package sim

import "time"

// link is one direction between two machines.
type link struct{ from, to string }

// network loses, delays and cuts.
type network struct {
	w    *world
	cut  map[link]bool
	loss int // percent
	slow int // percent of messages that take long
}

// send has something done in another process, if the message gets there.
func (n *network) send(from, to *process, do func()) {
	l := link{from.machine.name, to.machine.name}
	if n.cut[l] || n.w.chance(n.loss) {
		return
	}
	delay := n.w.between(200*time.Microsecond, 4*time.Millisecond)
	if n.w.chance(n.slow) {
		delay = n.w.between(10*time.Millisecond, 1200*time.Millisecond)
	}
	life := to.life
	n.w.after(delay, func() {
		if !n.cut[l] {
			to.run(life, do)
		}
	})
}

// reaches says whether messages go both ways.
func (n *network) reaches(a, b *machine) bool {
	return !n.cut[link{a.name, b.name}] && !n.cut[link{b.name, a.name}]
}
