package gossip

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logWriter gives memberlist's lines the level that they deserve here: that a message to a dead member failed is no error, it is how
// its death shows.
type logWriter struct {
	logger hclog.Logger
	now    func() time.Time

	mu    sync.Mutex
	since time.Time
	lines int // warnings and errors since then
	muted int // of them not passed on
}

// ordinary are the beginnings of lines in which another member's trouble shows.
var ordinary = []string{
	"Failed to send", "Failed fallback TCP ping", "Push/Pull with", "Failed push/pull", "failed to receive", "Failed to receive",
	"Failed to read remote state", "Failed to push local state", "Failed to forward ack", "Got ping for unexpected node",
	"Refuting", "Was able to connect", "Failed UDP ping", "Suspect ",
}

// Write takes one line: "[LEVEL] memberlist: text".
func (w *logWriter) Write(line []byte) (int, error) {
	level, text := parse(strings.TrimSpace(string(line)))
	if level >= hclog.Warn && !w.admit() {
		return len(line), nil
	}
	w.logger.Log(level, text)
	return len(line), nil
}

func parse(line string) (hclog.Level, string) {
	level := hclog.Info
	if tag, rest, found := strings.Cut(line, "] "); found && strings.HasPrefix(tag, "[") {
		line = rest
		switch tag {
		case "[ERR", "[ERROR":
			level = hclog.Error
		case "[WARN":
			level = hclog.Warn
		case "[DEBUG":
			level = hclog.Debug
		}
	}
	text := strings.TrimPrefix(line, "memberlist: ")
	for _, prefix := range ordinary {
		if strings.HasPrefix(text, prefix) {
			return hclog.Debug, text
		}
	}
	return level, text
}

// admit bounds what strangers who send garbage to the port can do to the log.
func (w *logWriter) admit() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Sub(w.since) >= noisyPeriod {
		if w.muted > 0 {
			w.logger.Warn("more lines like the last ones were left out", "lines", w.muted)
		}
		w.since, w.lines, w.muted = now, 0, 0
	}
	w.lines++
	if w.lines > noisyLines {
		w.muted++
		return false
	}
	return true
}
