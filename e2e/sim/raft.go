package sim

import (
	"slices"
	"time"

	"github.com/peapod-sh/peapod/api/ops"
)

// The modelled log: terms, votes, majorities and overwritten ends as raft has them; every append carries the whole log.
const (
	electionMin = 1500 * time.Millisecond
	electionMax = 3 * time.Second
	appendPause = 250 * time.Millisecond
	leaderLease = 750 * time.Millisecond
)

type entry struct {
	term uint64
	data []byte // ops, encoded
}

// nothing is an entry of no ops, with which a term begins.
var nothing = func() []byte {
	b, err := ops.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}()

type role uint8

const (
	follower role = iota
	candidate
	leader
)

// raft is one server's part. term, vote and log survive the process.
type raft struct {
	term uint64
	vote string
	log  []entry

	role    role
	leader  *server
	heard   time.Duration // when a leader was, on the server's clock
	commit  int           // entries known to be committed
	votes   map[string]bool
	match   map[string]int
	acked   map[string]time.Duration // when each follower last answered
	patient bool                     // it leads on although nobody answers, until it hears of another
}

func (s *server) majority(n int) bool { return 2*n > len(s.c.servers) }

func (s *server) lastTerm() uint64 {
	if len(s.log) == 0 {
		return 0
	}
	return s.log[len(s.log)-1].term
}

// adopt goes on in a later term.
func (s *server) adopt(term uint64) {
	if term > s.term {
		s.term, s.vote = term, ""
		s.follow(nil)
	}
}

func (s *server) follow(l *server) {
	if s.role == leader {
		s.c.w.tell(s.name, "▽", "no longer leads")
		s.endTerm()
	}
	s.role, s.leader = follower, l
}

// watchElection campaigns when no leader was heard for long.
func (s *server) watchElection() {
	wait := s.c.w.between(electionMin, electionMax)
	s.sleep(wait, func() {
		if s.role != leader && s.clock()-s.heard >= wait {
			s.campaign()
		}
		s.watchElection()
	})
}

func (s *server) campaign() {
	s.term++
	s.role, s.vote, s.leader = candidate, s.name, nil
	s.votes = map[string]bool{s.name: true}
	term, length, last := s.term, len(s.log), s.lastTerm()
	for _, o := range s.others() {
		s.c.net.send(&s.process, &o.process, func() { o.asked(s, term, length, last) })
	}
}

// asked answers a candidate.
func (s *server) asked(by *server, term uint64, length int, last uint64) {
	s.adopt(term)
	newer := last > s.lastTerm() || last == s.lastTerm() && length >= len(s.log)
	if term != s.term || !newer || s.vote != "" && s.vote != by.name {
		return
	}
	s.vote, s.heard = by.name, s.clock()
	s.disk(func() {
		s.c.net.send(&s.process, &by.process, func() {
			if by.role == candidate && by.term == term {
				by.votes[s.name] = true
				if by.majority(len(by.votes)) {
					by.lead()
				}
			}
		})
	})
}

func (s *server) lead() {
	s.role, s.leader = leader, s
	s.match, s.acked = map[string]int{}, map[string]time.Duration{}
	s.patient = s.c.w.chance(30)
	for _, o := range s.c.servers {
		s.acked[o.name] = s.clock()
	}
	s.c.w.tell(s.name, "△", "leads")
	first := s.propose(nothing)
	s.awaitTerm(first)
	s.beat(s.term)
}

// propose appends and returns the index, counted from 1.
func (s *server) propose(data []byte) int {
	s.log = append(slices.Clip(s.log), entry{s.term, data})
	index, term := len(s.log), s.term
	s.disk(func() {
		if s.role == leader && s.term == term {
			s.match[s.name] = max(s.match[s.name], index)
			s.advance()
		}
	})
	s.replicate()
	return index
}

func (s *server) beat(term uint64) {
	if s.role != leader || s.term != term {
		return
	}
	alive := 0
	for name, at := range s.acked {
		if name == s.name || s.clock()-at < leaderLease {
			alive++
		}
	}
	if !s.majority(alive) && !s.patient {
		s.follow(nil)
		return
	}
	s.replicate()
	s.sleep(appendPause, func() { s.beat(term) })
}

func (s *server) replicate() {
	term, log, commit := s.term, s.log, s.commit
	for _, o := range s.others() {
		s.c.net.send(&s.process, &o.process, func() { o.appended(s, term, log, commit) })
	}
}

// appended takes a leader's log over.
func (s *server) appended(by *server, term uint64, log []entry, commit int) {
	s.adopt(term)
	if term < s.term {
		mine := s.term
		s.c.net.send(&s.process, &by.process, func() { by.adopt(mine) })
		return
	}
	if s.role == candidate || s.leader != by {
		s.follow(by)
	}
	s.heard = s.clock()
	if len(log) > len(s.log) || s.lastTerm() != term {
		s.log = log
	}
	length := min(len(log), len(s.log))
	s.disk(func() {
		if s.term != term {
			return
		}
		s.c.net.send(&s.process, &by.process, func() {
			if by.role == leader && by.term == term {
				by.match[s.name] = max(by.match[s.name], length)
				by.acked[s.name] = by.clock()
				by.advance()
			}
		})
		s.committed(min(commit, length))
	})
}

// advance finds what a majority has.
func (s *server) advance() {
	for n := len(s.log); n > s.commit && s.log[n-1].term == s.term; n-- {
		have := 0
		for _, m := range s.match {
			if m >= n {
				have++
			}
		}
		if s.majority(have) {
			s.committed(n)
			s.replicate()
			return
		}
	}
}

func (s *server) committed(n int) {
	for s.commit < n {
		s.commit++
		s.apply(s.commit, s.log[s.commit-1])
	}
}

// disk does something when what is written is on the disk.
func (s *server) disk(do func()) { s.sleep(s.c.w.between(s.diskMin, s.diskMax), do) }
