package jobs

import (
	"io"
	"os"

	"golang.org/x/term"
)

// paint colours what a plan shows: what comes is green, what goes is red, what changes is yellow.
type paint bool

// paintFor colours for terminals only, and not where the user has asked for no colours.
func paintFor(w io.Writer) paint {
	f, ok := w.(*os.File)
	return paint(ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd())))
}

const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (p paint) in(colour, text string) string {
	if !p {
		return text
	}
	return colour + text + plain
}

// sign is a line's first character in its colour.
func (p paint) sign(s string) string {
	switch s {
	case "+":
		return p.in(green, s)
	case "-":
		return p.in(red, s)
	}
	return p.in(yellow, s)
}
