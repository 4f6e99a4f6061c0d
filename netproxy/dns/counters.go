package dns

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-metrics"
	mdns "github.com/miekg/dns"
)

// counted are the kinds of questions that have a counter each; the others share one.
var counted = [...]uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypePTR, mdns.TypeCNAME, mdns.TypeTXT, mdns.TypeNS, mdns.TypeSOA, mdns.TypeANY}

// rcodesCounted is one more than the largest code with a counter of its own (REFUSED).
const rcodesCounted = 6

// counts are answers by kind and rcode. Every loop has its own, so that loops share no memory.
type counts [len(counted) + 1][rcodesCounted + 1]atomic.Uint64

func (c *counts) add(kind uint16, rcode int) {
	k := slices.Index(counted[:], kind)
	if k < 0 {
		k = len(counted)
	}
	c[k][min(rcode, rcodesCounted)].Add(1)
}

// Answer names a counter.
type Answer struct{ Type, Rcode string } // as in "A" and "NXDOMAIN"; "other" for rare ones

// Answers are the numbers of answers since the start.
func (s *Server) Answers() map[Answer]uint64 {
	out := map[Answer]uint64{}
	all := []*counts{&s.streamed}
	for _, l := range s.loops {
		all = append(all, &l.counts)
	}
	for _, c := range all {
		for k := range c {
			for r := range c[k] {
				if n := c[k][r].Load(); n > 0 {
					out[answerName(k, r)] += n
				}
			}
		}
	}
	return out
}

func answerName(kind, rcode int) Answer {
	a := Answer{"other", "other"}
	if kind < len(counted) {
		a.Type = mdns.TypeToString[counted[kind]]
	}
	if rcode < rcodesCounted {
		a.Rcode = mdns.RcodeToString[rcode]
	}
	return a
}

// report tells the metrics what was answered, now and then: telling of each answer would cost more than the answer.
func (s *Server) report(ctx context.Context) error {
	told := map[Answer]uint64{}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := s.Answers()
		for a, n := range now { // also what has not grown: the metrics forget a counter that is silent
			metrics.IncrCounterWithLabels([]string{"dns", "answers"}, float32(n-told[a]),
				[]metrics.Label{{Name: "type", Value: a.Type}, {Name: "rcode", Value: a.Rcode}})
		}
		told = now
		asked, failed := s.forward.asked.Swap(0), s.forward.failed.Swap(0)
		metrics.IncrCounter([]string{"dns", "upstream", "asked"}, float32(asked))
		metrics.IncrCounter([]string{"dns", "upstream", "failed"}, float32(failed))
	}
}
