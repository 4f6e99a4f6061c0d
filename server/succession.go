package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

const (
	// leaderSilent is how long raft's heartbeats, which come every 150 to 300 ms, may stay away before this server asks the others.
	leaderSilent = 900 * time.Millisecond
	// leaderQuiet is the silence at which this server, when asked, takes the leader for gone: those who ask do so only then.
	leaderQuiet = 650 * time.Millisecond
	// silentMost bounds how patient heirs are with a leader that has been late; raft's own timeout comes after it. lateFactor is how much more
	// silence they grant than there was lately, and after each lateHalf it is taken for half as long.
	silentMost = 2500 * time.Millisecond
	lateFactor = 2
	lateHalf   = 10 * time.Second
	// lookLate is how late a look may come before it counts as our own pause: what the leader sent meanwhile is still to be read.
	lookLate = 100 * time.Millisecond
	// silenceLook is how often the silence is looked at when there is some.
	silenceLook = 50 * time.Millisecond
	// askWait bounds the look whether anybody listens at the leader's address, and the question to another server.
	askWait = 200 * time.Millisecond
	// A process that ends closes its port a moment before or after its connections: endedLooks looks, endedPause apart.
	endedLooks = 5
	endedPause = 20 * time.Millisecond
	// successionPause separates the heirs, so that they do not split the votes. It is some elections long.
	successionPause = 100 * time.Millisecond
)

// succession elects a new leader sooner than raft does, whose timeout must be patient because it sees only its own server's
// silence. A process that ends leaves more: its kernel closes the connections and refuses new ones; and of silence
// the others can be asked. An election needs a majority that takes the leader for gone, so that a server which only is
// cut off itself does not depose a good leader when it is back. Safety does not rest on this: an election is an election.
type succession struct {
	self  string
	ended chan string // servers whose connection for raft has ended
	heirs chan string // capacity 1: another heir of this leader has noticed its silence
	late  lateness

	part     func() (leader string, silence time.Duration, term uint64) // ours in raft; leader is "" if we follow nobody
	members  func() ([]string, error)
	refuses  func(ctx context.Context, name string) bool         // a server's kernel says that nobody listens
	agrees   func(ctx context.Context, member, name string) bool // a member takes a server for gone
	campaign func() error
}

func (s *Server) newSuccession() *succession {
	c := s.consensus
	return &succession{self: s.cfg.Name, ended: make(chan string, 16), heirs: make(chan string, 1), members: c.members, campaign: c.campaign, refuses: s.refuses, agrees: s.agreesOnGone,
		part: func() (string, time.Duration, uint64) {
			if c.raft.State() != raft.Follower {
				return "", 0, 0
			}
			return c.leader(), time.Since(c.raft.LastContact()), c.raft.CurrentTerm()
		}}
}

// lost notes the end of a connection. It does not wait: when notes pile up there is one of the leader among them.
func (s *succession) lost(name string) {
	select {
	case s.ended <- name:
	default:
	}
}

// Run elects a lone server at once, and then succeeds leaders until ctx ends.
func (s *succession) Run(ctx context.Context) error {
	for s.alone() && s.campaign() != nil { // our own port does not answer yet
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		leader, silence, _ := s.part()
		pause := max(silenceLook, leaderQuiet-silence)
		began := time.Now()
		var name string
		select {
		case name = <-s.ended:
			s.awaitRefusal(ctx, name)
		case name = <-s.heirs:
		case <-time.After(pause):
			var now time.Duration
			name, now, _ = s.part()
			over := time.Since(began) - pause
			if name == leader {
				s.late.heard(silence, now, time.Since(began))
			}
			if name != leader || over > lookLate || now < s.late.stretch(leaderSilent) {
				continue
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.gone(ctx, name) {
			s.succeed(ctx, name)
		}
	}
}

// awaitRefusal gives a leader that is just ending the time for it.
func (s *succession) awaitRefusal(ctx context.Context, name string) {
	for range endedLooks {
		if leader, _, _ := s.part(); leader != name || s.refuses(ctx, name) {
			return
		}
		select {
		case <-time.After(endedPause):
		case <-ctx.Done():
			return
		}
	}
}

// alone says that nobody else votes and nobody leads: then there is nobody to wait for.
func (s *succession) alone() bool {
	members, err := s.members()
	leader, _, _ := s.part()
	return err == nil && leader == "" && slices.Equal(members, []string{s.self})
}

// gone says whether we follow this server and it seems to have ended.
func (s *succession) gone(ctx context.Context, name string) bool {
	leader, silence, _ := s.part()
	return name != "" && leader == name && (silence >= s.late.stretch(leaderQuiet) || s.refuses(ctx, name))
}

// asked is gone for another heir. Whoever agrees looks to the succession too: the last heartbeats came at different times, and a later heir
// that notices first and waits for its turn would campaign when an earlier one does, and split the votes.
func (s *succession) asked(ctx context.Context, name string) bool {
	if !s.gone(ctx, name) {
		return false
	}
	select {
	case s.heirs <- name:
	default:
	}
	return true
}

// succeed campaigns if a majority takes the leader for gone and no heir before us campaigns.
func (s *succession) succeed(ctx context.Context, name string) {
	members, err := s.members()
	_, _, term := s.part()
	if err != nil || !s.majority(ctx, members, name) {
		return
	}
	slices.Sort(members)
	heirs := slices.DeleteFunc(members, func(m string) bool { return m == name })
	select {
	case <-time.After(time.Duration(max(0, slices.Index(heirs, s.self))) * s.late.stretch(successionPause)):
	case <-ctx.Done():
		return
	}
	if leader, _, now := s.part(); leader == name && now == term {
		_ = s.campaign() // if it cannot, raft's own timeout does the same later
	}
}

// majority asks the members, ourselves included, whether they take the leader for gone.
func (s *succession) majority(ctx context.Context, members []string, name string) bool {
	var asked sync.WaitGroup
	agreed := make(chan bool, len(members))
	for _, m := range members {
		switch m {
		case s.self:
			agreed <- true
		case name:
		default:
			asked.Go(func() { agreed <- s.agrees(ctx, m, name) })
		}
	}
	asked.Wait()
	close(agreed)
	votes := 0
	for yes := range agreed {
		if yes {
			votes++
		}
	}
	return 2*votes > len(members)
}

// refuses says whether a server's kernel lives and nobody listens at its port.
func (s *Server) refuses(ctx context.Context, name string) bool {
	address, err := s.addressOf(name)
	if err != nil {
		return false
	}
	dialer := net.Dialer{Timeout: askWait}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// agreesOnGone asks another server.
func (s *Server) agreesOnGone(ctx context.Context, member, name string) bool {
	address, err := s.addressOf(member)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var reply wire.GoneReply
	err = s.pool.Call(ctx, member, address, wire.MethodGone, &wire.GoneRequest{Name: name}, &reply)
	return err == nil && reply.Gone
}

// goneForServer answers it.
func (s *Server) goneForServer(ctx context.Context, _ rpc.Caller, q *wire.GoneRequest) (*wire.GoneReply, error) {
	return &wire.GoneReply{Gone: s.succession.asked(ctx, q.Name)}, nil
}
