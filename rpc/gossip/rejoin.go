package gossip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// rejoin remembers where to look for members that are not here. memberlist itself forgets the dead after a while, so two
// halves of a partition would stay apart for ever.
type rejoin struct {
	logger hclog.Logger

	mu      sync.Mutex
	targets map[string]*target // by host:port, the seeds
}

// target is a seed and when it may be tried again.
type target struct {
	next  time.Time
	pause time.Duration
}

func (r *rejoin) seed(addresses []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range addresses {
		if r.targets[a] == nil {
			r.targets[a] = &target{}
		}
	}
}

// due picks seeds at which nobody lives, as far as we see, and notes that they are tried: each time a seed is tried in vain, the next
// attempt waits twice as long.
func (r *rejoin) due(now time.Time, living map[string]bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []string
	for address, t := range r.targets {
		switch {
		case living[address]:
			*t = target{}
		case len(due) < rejoinSeeds && !now.Before(t.next):
			t.pause = min(max(2*t.pause, rejoinInterval), rejoinRetryMax)
			t.next = now.Add(t.pause)
			due = append(due, address)
		}
	}
	return due
}

// Run looks for lost members until ctx ends: for seeds at which nobody lives, and now and then for a member that died.
func (g *Gossip) Run(ctx context.Context) error {
	ticker := time.NewTicker(rejoinInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			g.reunite(time.Now())
		}
	}
}

func (g *Gossip) reunite(now time.Time) {
	living := map[string]bool{}
	var dead []string
	for _, m := range g.Members() {
		switch m.State {
		case Alive, Suspect:
			living[m.Address] = true
		case Dead:
			dead = append(dead, m.Address)
		}
	}
	missing := g.rejoin.due(now, living)
	// One member finds a dead one for all, so few need to look.
	if len(dead) > 0 && rand.IntN(max(1, len(living))) < rejoinPerRound {
		missing = append(missing, dead[rand.IntN(len(dead))])
	}
	if len(missing) == 0 {
		return
	}
	if found, err := g.list.Join(missing); err != nil {
		g.rejoin.logger.Debug("did not find lost members", "at", missing, "error", err)
	} else if found > 0 {
		g.rejoin.logger.Debug("looked for lost members", "at", missing, "answers", found)
	}
}
