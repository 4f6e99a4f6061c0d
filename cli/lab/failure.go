package lab

import (
	"fmt"
	"os"
	"strings"
)

// failure is a node that did not do what it should; its text shows the end of the node's log.
type failure struct {
	node Node
	err  error
}

func (f failure) Error() string {
	text := fmt.Sprintf("%s: %v", f.node.Name, f.err)
	if lines := tail(f.node.LogFile(), logTail); len(lines) > 0 {
		text += fmt.Sprintf("\nThe last lines of %s:\n  %s", f.node.LogFile(), strings.Join(lines, "\n  "))
	}
	return text
}

func (f failure) Unwrap() error { return f.err }

// tail is the last lines of a file; none if it cannot be read.
func tail(file string, lines int) []string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		return nil
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return all[max(0, len(all)-lines):]
}
