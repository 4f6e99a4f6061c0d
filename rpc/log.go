package rpc

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/yamux"
)

// muxLog makes yamux' lines debug lines: what matters in them reaches callers as errors.
type muxLog struct{ logger hclog.Logger }

var _ yamux.Logger = muxLog{}

func muxLogger(logger hclog.Logger) muxLog { return muxLog{logger: logger} }

func (l muxLog) Print(v ...any)                 { l.put(fmt.Sprint(v...)) }
func (l muxLog) Println(v ...any)               { l.put(fmt.Sprintln(v...)) }
func (l muxLog) Printf(format string, v ...any) { l.put(fmt.Sprintf(format, v...)) }

func (l muxLog) put(line string) {
	_, text, found := strings.Cut(line, "yamux: ")
	if !found {
		text = line
	}
	l.logger.Debug("session", "event", strings.TrimSpace(text))
}
