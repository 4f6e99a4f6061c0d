package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// refusalWait bounds the look whether anybody listens at the leader's address.
	refusalWait = 200 * time.Millisecond
	// successionPause separates the heirs, so that they do not split the votes. It is some elections long.
	successionPause = 100 * time.Millisecond
)

// succession elects a new leader as soon as the old one is known to be dead. Raft itself waits for silence, which is all
// that a lost machine leaves behind; a process that ends leaves more: its kernel closes the connections and
// refuses new ones. Safety does not rest on this: an election is an election.
type succession struct {
	self      string
	ended     chan string // servers whose connection for raft has ended
	leader    func() string
	members   func() ([]string, error)
	addressOf func(name string) (string, error)
	part      func() (term uint64, follows bool) // ours in raft now
	campaign  func() error
}

func (s *Server) newSuccession() *succession {
	c := s.consensus
	return &succession{self: s.cfg.Name, ended: make(chan string, 16), leader: c.leader, members: c.members, addressOf: s.addressOf, campaign: c.campaign,
		part: func() (uint64, bool) { return c.raft.CurrentTerm(), c.raft.State() == raft.Follower }}
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
		select {
		case name := <-s.ended:
			s.consider(ctx, name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// alone says that nobody else votes: then there is nobody to wait for, at a start.
func (s *succession) alone() bool {
	members, err := s.members()
	_, follows := s.part()
	return err == nil && follows && len(members) == 1 && members[0] == s.self
}

// consider campaigns if the leader's process has ended and no heir before us stands for election.
func (s *succession) consider(ctx context.Context, name string) {
	term, follows := s.part()
	if !follows || s.leader() != name || !s.refuses(ctx, name) {
		return
	}
	select {
	case <-time.After(time.Duration(s.rank(name)) * successionPause):
	case <-ctx.Done():
		return
	}
	if now, follows := s.part(); !follows || now != term {
		return
	}
	_ = s.campaign() // if it cannot, raft's own timeout does the same later
}

// refuses says whether the server's kernel lives and nobody listens.
func (s *succession) refuses(ctx context.Context, name string) bool {
	address, err := s.addressOf(name)
	if err != nil {
		return false
	}
	dialer := net.Dialer{Timeout: refusalWait}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// rank is our place among the heirs.
func (s *succession) rank(dead string) int {
	members, err := s.members()
	if err != nil {
		return 0
	}
	slices.Sort(members)
	return max(0, slices.Index(slices.DeleteFunc(members, func(m string) bool { return m == dead }), s.self))
}
