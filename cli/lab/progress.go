package lab

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows steps as they come to their end: in place and with colour on a terminal, a line a step
// elsewhere. Steps may overlap.
type progress struct {
	out   io.Writer
	fancy bool

	mu    sync.Mutex
	rows  []*step // guarded by mu: those not yet scrolled away
	drawn int     // guarded by mu: lines on the terminal that belong to rows
}

// step is one line.
type step struct {
	p      *progress
	name   string
	detail string
	began  time.Time
	took   time.Duration
	mark   string // empty while it runs
}

// The marks of a step.
const (
	markDone    = "✓"
	markFailed  = "✗"
	markStopped = "-" // ended because another step failed
	markRunning = "…"
)

func newProgress(out io.Writer) *progress {
	f, ok := out.(*os.File)
	fancy := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	return &progress{out: out, fancy: fancy}
}

// say prints a line of its own.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows, p.drawn = nil, 0
	fmt.Fprintf(p.out, format+"\n", args...)
}

// begin shows a step that has started.
func (p *progress) begin(name, detail string) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &step{p: p, name: name, detail: detail, began: time.Now()}
	p.rows = append(p.rows, s)
	p.draw()
	return s
}

// end shows how a step ended; the first end counts.
func (s *step) end(mark string) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.mark != "" {
		return
	}
	s.mark, s.took = mark, time.Since(s.began)
	if s.p.fancy {
		s.p.draw()
		return
	}
	fmt.Fprintln(s.p.out, s.line(false))
}

// of ends the step with what its work returned, and passes that on.
func (s *step) of(err error) error {
	if err != nil {
		s.end(markFailed)
	} else {
		s.end(markDone)
	}
	return err
}

// endAll ends what still runs, because the whole has come to its end.
func (p *progress) endAll() {
	p.mu.Lock()
	rows := p.rows
	p.mu.Unlock()
	for _, s := range rows {
		s.end(markStopped)
	}
}

// draw writes all rows over their former selves. The caller holds the lock.
func (p *progress) draw() {
	if !p.fancy {
		return
	}
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	for _, s := range p.rows {
		b.WriteString("\r\x1b[K" + s.line(true) + "\n")
	}
	p.drawn = len(p.rows)
	io.WriteString(p.out, b.String())
	p.forget()
}

// forget leaves finished rows above the first running one where they are, so that the part of the
// screen that is written anew stays small.
func (p *progress) forget() {
	for len(p.rows) > 0 && p.rows[0].mark != "" {
		p.rows = p.rows[1:]
		p.drawn--
	}
}

func (s *step) line(colour bool) string {
	mark, took := s.mark, fmt.Sprintf("%.1f s", s.took.Seconds())
	if mark == "" {
		mark, took = markRunning, ""
	}
	if colour {
		mark = colours[mark] + mark + "\x1b[0m"
	}
	return strings.TrimRight(fmt.Sprintf("  %s %-10s %-42s %7s", mark, s.name, s.detail, took), " ")
}

var colours = map[string]string{markDone: "\x1b[32m", markFailed: "\x1b[31m", markStopped: "\x1b[33m", markRunning: "\x1b[36m"}

// describe gives a running step a better detail than it began with; an empty one changes nothing.
func (s *step) describe(detail string) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if detail != "" {
		s.detail = detail
	}
}
