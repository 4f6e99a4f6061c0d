package rpc

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// breaks is found in the stack that is logged.
func breaks() { panic("something impossible") }

func TestHandlerThatPanicsHarmsItsCallerOnly(t *testing.T) {
	methods, log := NewMethods(), &journal{}
	Register(methods, "echo", Anyone, echo)
	Register(methods, "call", Anyone, func(context.Context, Caller, *text) (*text, error) { breaks(); return nil, nil })
	RegisterStream(methods, "stream", Anyone, func(context.Context, Caller, *text, *Stream) error { breaks(); return nil })
	c := newCluster(t, methods, func(s *Server) { s.Logger = hclog.New(&hclog.LoggerOptions{Output: log}) })
	conn := c.dial(t, node1, nil)
	err := conn.Call(t.Context(), "call", &text{}, nil)
	if CodeOf(err) != CodeInternal || !strings.Contains(err.Error(), "call has met a fault of the program") || strings.Contains(err.Error(), "impossible") {
		t.Errorf("the caller hears %v", err)
	}
	s, err := conn.Open(t.Context(), "stream", &text{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var m text
	if err := s.Recv(&m); err == nil || err == io.EOF || !strings.Contains(err.Error(), "stream has met a fault of the program") {
		t.Errorf("the opener hears %v", err)
	}
	if err := conn.Call(t.Context(), "echo", &text{"hi"}, &m); err != nil || m.Text != "node/n1 said hi" {
		t.Errorf("the same connection afterwards: %q, %v", m.Text, err)
	}
	said := log.String()
	for _, want := range []string{"a handler panicked", "method=call", "method=stream", "node/n1", "something impossible", "rpc.breaks"} {
		if !strings.Contains(said, want) {
			t.Errorf("the log does not say %q:\n%s", want, said)
		}
	}
}
