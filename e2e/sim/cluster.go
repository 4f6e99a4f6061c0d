package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

var clusterCIDR = netip.MustParsePrefix("10.42.0.0/16")

// Options of a run. The switches break the design on purpose: the checks must find each.
type Options struct {
	Times fence.Times
	// DriftParts bounds the clocks' rates: one part in so many.
	DriftParts int64
	// Story tells what happens.
	Story bool

	// Sets adds StatefulSets, and users who change, scale and delete what there is.
	Sets bool
	// Scaled adds a Deployment with an autoscaler and a budget, and users who change it, load it and have its pods rebalanced.
	Scaled bool

	Unread      bool // agents do not read whether a pod is still theirs
	Unfenced    bool // supervisors let pods run on when the lease has ended
	Ungated     bool // supervisors do not look at the lease when a program begins
	Unconfirmed bool // leaders grant leases without asking the others
	Unspent     bool // evictions ask no budget
}

// Default is the design as it is.
func Default() Options {
	t := fence.Default()
	return Options{Times: t, DriftParts: t.DriftParts, Sets: true, Scaled: true}
}

// cluster is three servers, four nodes and what runs on them.
type cluster struct {
	w       *world
	seed    uint64
	options Options
	net     *network
	servers []*server
	nodes   []*node

	objects map[string]runtime.Object // claims and volumes
	log     []entry                   // what is committed, by whoever came first
	bound   map[types.UID]string
	silent  map[string]time.Duration // since when gossip misses a node
	// Moved counts replacements of single writers, Overslept their moments on machines that stood past their lease.
	moved, overslept int

	scaled scaled
}

// New builds the cluster of a seed.
func newCluster(seed uint64, o Options) *cluster {
	w := &world{rng: rand.New(rand.NewPCG(seed, 17))}
	if o.Story {
		w.story = &strings.Builder{}
	}
	c := &cluster{w: w, seed: seed << 8, options: o, objects: map[string]runtime.Object{}, bound: map[types.UID]string{}, silent: map[string]time.Duration{}}
	c.scaled.init()
	c.net = &network{w: w, cut: map[link]bool{}}
	first := c.furnish()
	for i := range 3 {
		s := &server{c: c, process: process{w: w, name: fmt.Sprintf("s%d", i+1)}}
		s.machine = c.machineOf(s.name)
		s.diskMin, s.diskMax = 100*time.Microsecond, 3*time.Millisecond
		s.log = []entry{{0, first}}
		c.servers = append(c.servers, s)
	}
	for i := range 4 {
		n := &node{c: c, machine: *c.machineOf(fmt.Sprintf("n%d", i+1))}
		n.process = process{w: w, name: n.machine.name, machine: &n.machine}
		n.visor = process{w: w, name: n.machine.name, machine: &n.machine}
		c.nodes = append(c.nodes, n)
	}
	for _, s := range c.servers {
		s.boot()
	}
	for _, n := range c.nodes {
		n.power()
	}
	return c
}

func (c *cluster) machineOf(name string) *machine {
	drift := (2*c.w.rng.Float64() - 1) / float64(c.options.DriftParts)
	return &machine{name: name, rate: 1 + drift}
}

func (c *cluster) node(name string) *node { return c.nodes[name[1]-'1'] }

// identity is what may run once only: the pod's name in a StatefulSet, else the set that has the claim, "/" before it, on one node; "" if
// there may be many.
func (c *cluster) identity(p *api.PodRecord) string {
	if r, _ := api.ReplacementOf(p.Template.Pod, c); r != api.MovesFenced {
		return ""
	}
	if p.Controller().Kind == "StatefulSet" {
		return p.Name
	}
	return "/" + p.Controller().Name
}

func (c *cluster) label(uid, identity string) string {
	if identity == "" {
		identity = "web"
	}
	return identity + "/" + uid[max(0, len(uid)-4):]
}

// gossip is what members say of a node: most of the machines must miss it.
func (c *cluster) gossip(by *server, name string) liveness.State {
	n := c.node(name)
	missed := 0
	for _, s := range c.servers {
		if !c.net.reaches(s.machine, &n.machine) {
			missed++
		}
	}
	if n.up && !n.stopped && !n.machine.stands && missed < 2 {
		delete(c.silent, name)
		if c.w.chance(2) {
			return liveness.Suspect // members err
		}
		return liveness.Alive
	}
	if _, ok := c.silent[name]; !ok {
		c.silent[name] = c.w.now
	}
	switch since := c.w.now - c.silent[name]; {
	case since < 300*time.Millisecond:
		return liveness.Alive
	case since < 1300*time.Millisecond:
		return liveness.Suspect
	}
	return liveness.Dead
}

// applied checks what a server has applied against what others have, and the changes when they are new.
func (c *cluster) applied(index int, e entry, changes []*api.Change) {
	if index <= len(c.log) {
		if was := c.log[index-1]; was.term != e.term || string(was.data) != string(e.data) {
			c.w.fail("one log", "entry %d is another one here", index)
		}
		return
	}
	c.log = append(c.log, e)
	for _, x := range changes {
		c.checkBound(x)
		c.checkScaled(e.data, x)
	}
}

// checkBound: no pod changes its node.
func (c *cluster) checkBound(x *api.Change) {
	switch p := x.NewPod; {
	case x.Resource != reconcile.Pods:
	case p == nil:
		if c.identity(x.OldPod) != "" {
			if !x.OldPod.Deleting() {
				c.moved++ // at once: nobody waited for its node
			}
			c.w.tell("log", "✗", c.label(string(x.OldPod.UID), c.identity(x.OldPod)), "on", x.OldPod.Node)
		}
	case p.Node != "":
		if was, ok := c.bound[p.UID]; ok && was != p.Node {
			c.w.fail("bound once", "pod %s was on %s and is on %s", p.Name, was, p.Node)
		}
		c.bound[p.UID] = p.Node
	}
}

// checkWriters: of no identity do two programs run, nor is a claim of one writer used on two nodes. A machine that stands runs none.
func (c *cluster) checkWriters() {
	runs := map[string]string{}
	for _, n := range c.nodes {
		if n.machine.stands {
			continue
		}
		for _, uid := range slices.Sorted(maps.Keys(n.programs)) {
			switch p := n.programs[uid]; {
			case p.identity == "":
			case p.overslept:
				c.overslept++
			case runs[p.identity] == n.name && p.identity[0] == '/':
			case runs[p.identity] != "":
				c.w.fail("at most once", "%s runs on %s and on %s", p.identity, runs[p.identity], n.name)
			default:
				runs[p.identity] = n.name
			}
		}
	}
}
