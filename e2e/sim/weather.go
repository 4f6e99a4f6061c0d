package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	calm   = 8 * time.Second  // before the first fault
	storm  = 70 * time.Second // until the last
	repose = 90 * time.Second // after which all must be well
)

// Result is what a run was like.
type Result struct {
	Moved, Overslept  int
	Rescaled, Evicted int
	Story             string
}

// Run lets a cluster live through the weather of its seed. The error names the invariant that broke.
func Run(seed uint64, o Options) (Result, error) {
	c := newCluster(seed, o)
	for range 3 + c.w.rng.IntN(12) {
		c.w.after(c.w.between(calm, storm), c.strike)
	}
	c.w.after(storm, c.heal)
	for c.w.step(storm + repose) {
		c.checkWriters()
	}
	c.checkRest()
	r := Result{Moved: c.moved, Overslept: c.overslept, Rescaled: c.scaled.rescaled, Evicted: c.scaled.evicted}
	if c.w.story != nil {
		r.Story = c.w.story.String()
	}
	return r, c.w.failed
}

// strike is one fault, which mostly ends by itself.
func (c *cluster) strike() {
	if c.w.now >= storm {
		return
	}
	s, n := c.servers[c.w.rng.IntN(3)], c.nodes[c.w.rng.IntN(4)]
	long := c.w.between(300*time.Millisecond, 25*time.Second)
	kinds := 14
	if c.options.Sets {
		kinds = 20
	}
	if c.options.Scaled {
		kinds = 27
	}
	switch c.w.rng.IntN(kinds) {
	case 0, 1:
		c.cutOff(n.name, long, true, true)
	case 2:
		c.cutOff(n.name, long, c.w.chance(50), false)
	case 3:
		c.cutOff(s.name, long, true, c.w.chance(50))
	case 4:
		c.cutLink(long)
	case 5:
		c.crash(&s.process, c.w.between(200*time.Millisecond, 10*time.Second), s.boot)
	case 6:
		c.stop(&s.process, long)
	case 7:
		c.crash(&n.process, c.w.between(50*time.Millisecond, respawnMost), n.boot)
	case 8:
		c.stop(&n.process, long)
	case 9:
		c.stand(n, long)
	case 10:
		c.powerLoss(n, long)
	case 11:
		c.mud(s, long)
	case 12, 13:
		c.split(long)
	case 14, 15, 16:
		c.editSet(c.sets()[c.w.rng.IntN(2)], c.w.chance(30))
	case 17:
		c.deletePod()
	case 18:
		c.deleteNode(n.name)
	case 19: // who deletes a Node mostly does so because it is gone
		c.cutOff(n.name, long, true, true)
		c.w.after(c.w.between(0, 12*time.Second), func() { c.deleteNode(n.name) })
	case 20, 21:
		c.setLoad()
	case 22:
		c.editScaled(true)
	case 23:
		c.editScaled(false)
	case 24, 25, 26:
		c.rebalance()
	}
}

// cutOff cuts a machine's links, in one direction or both, to all others or to some.
func (c *cluster) cutOff(name string, long time.Duration, out, in bool) {
	var cut []link
	for _, other := range c.names() {
		if other == name || c.w.chance(10) {
			continue
		}
		if out {
			cut = append(cut, link{name, other})
		}
		if in || !out {
			cut = append(cut, link{other, name})
		}
	}
	c.cut(name, cut, long)
}

// split cuts one server and some of the nodes off, together.
func (c *cluster) split(long time.Duration) {
	side := map[string]bool{c.servers[c.w.rng.IntN(3)].name: true}
	for _, n := range c.nodes {
		side[n.name] = c.w.chance(40)
	}
	var cut []link
	for _, a := range c.names() {
		for _, b := range c.names() {
			if side[a] != side[b] {
				cut = append(cut, link{a, b})
			}
		}
	}
	c.cut("net", cut, long)
}

func (c *cluster) cutLink(long time.Duration) {
	all := c.names()
	a, b := all[c.w.rng.IntN(len(all))], all[c.w.rng.IntN(len(all))]
	c.cut(a, []link{{a, b}, {b, a}}, long)
}

func (c *cluster) cut(who string, links []link, long time.Duration) {
	c.w.tell(who, "✂", fmt.Sprint(links))
	for _, l := range links {
		c.net.cut[l] = true
	}
	c.w.after(long, func() {
		c.w.tell(who, "∪")
		for _, l := range links {
			delete(c.net.cut, l)
		}
	})
}

func (c *cluster) names() (out []string) {
	for _, s := range c.servers {
		out = append(out, s.name)
	}
	for _, n := range c.nodes {
		out = append(out, n.name)
	}
	return out
}

// crash ends a process. Whoever it had connections to hears of it, if the network lets it.
func (c *cluster) crash(p *process, long time.Duration, boot func()) {
	if !p.up {
		return
	}
	c.w.tell(p.name, "☠")
	if p.name[0] == 'n' {
		for _, s := range c.servers {
			c.net.send(p, &s.process, func() { s.tracker.Broken(p.name, s.time()) })
		}
	} else {
		c.server(p.name).follow(nil)
	}
	p.end()
	life := p.life
	c.w.after(long, func() {
		if !p.up && p.life == life {
			c.w.tell(p.name, "☀")
			boot()
		}
	})
}

func (c *cluster) server(name string) *server { return c.servers[name[1]-'1'] }

// stop is SIGSTOP and, later, SIGCONT.
func (c *cluster) stop(p *process, long time.Duration) {
	if !p.up || p.stopped {
		return
	}
	c.w.tell(p.name, "Ⅱ")
	p.stopped = true
	life := p.life
	c.w.after(long, func() {
		if p.life == life && p.stopped {
			c.w.tell(p.name, "▸")
			p.stopped = false
			p.goOn()
		}
	})
}

func (c *cluster) stand(n *node, long time.Duration) {
	if n.machine.stands {
		return
	}
	c.w.tell(n.name, "❄")
	n.stand()
	c.w.after(long, func() {
		if n.machine.stands {
			c.w.tell(n.name, "♨")
			n.wake()
		}
	})
}

func (c *cluster) powerLoss(n *node, long time.Duration) {
	if !n.visor.up {
		return
	}
	c.w.tell(n.name, "⚡")
	n.lose()
	c.w.after(long, func() { c.restore(n) })
}

func (c *cluster) restore(n *node) {
	if !n.visor.up {
		c.w.tell(n.name, "☀")
		n.power()
	}
}

// mud makes a server's disk slow and the network bad.
func (c *cluster) mud(s *server, long time.Duration) {
	c.w.tell(s.name, "≋")
	was := s.diskMax
	s.diskMax, c.net.loss, c.net.slow = 900*time.Millisecond, c.w.rng.IntN(30), c.w.rng.IntN(40)
	c.w.after(long, func() { s.diskMax, c.net.loss, c.net.slow = was, 0, 0 })
}

// heal ends every fault.
func (c *cluster) heal() {
	c.w.tell("all", "♥")
	clear(c.net.cut)
	c.net.loss, c.net.slow = 0, 0
	for _, s := range c.servers {
		s.diskMax = 3 * time.Millisecond
		if !s.up {
			s.boot()
		}
		s.stopped = false
		s.goOn()
	}
	for _, n := range c.nodes {
		c.restore(n)
		if n.machine.stands {
			n.wake()
		}
		if !n.up {
			n.boot()
		}
		n.stopped = false
		n.goOn()
	}
}

// checkRest: after the repose every set has its pods, all ready, all running where the state says, and nothing else runs.
func (c *cluster) checkRest() {
	if c.w.failed != nil {
		return
	}
	for _, s := range c.servers {
		if s.state.Index() != c.servers[0].state.Index() {
			c.w.fail("all is well", "%s has applied %d, s1 %d", s.name, s.state.Index(), c.servers[0].state.Index())
		}
	}
	want := map[string]string{} // pod -> node
	for _, p := range c.servers[0].pods() {
		want[string(p.UID)] = p.Node
		if !p.Status.Ready() || p.Deleting() || p.Node == "" {
			c.w.fail("all is well", "pod %s on %q is not ready", p.Name, p.Node)
		}
		c.checkEdit(c.servers[0], p)
	}
	c.checkScale(c.servers[0])
	if n := c.wanted(c.servers[0]); len(want) != n {
		c.w.fail("all is well", "there are %d pods, not %d", len(want), n)
	}
	for _, n := range c.nodes {
		for _, uid := range slices.Sorted(maps.Keys(n.programs)) {
			if want[uid] != n.name {
				c.w.fail("all is well", "%s runs %s", n.name, c.label(uid, n.programs[uid].identity))
			}
			delete(want, uid)
		}
	}
	for uid, name := range want {
		c.w.fail("all is well", "%s does not run %s", name, uid)
	}
}
