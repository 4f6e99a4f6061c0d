package oci

import (
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		n := newNode(t)
		return runtimetest.Subject{
			Open:      func(t *testing.T) runtimetest.Executor { return n.open() },
			Spec:      n.spec,
			Processes: true, Reopens: true, OwnUsers: true, Handler: Handlers[0],
		}
	})
}
