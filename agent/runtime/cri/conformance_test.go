package cri

import (
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		n := newNode(t)
		return runtimetest.Subject{
			Open:      func(t *testing.T) runtimetest.Executor { return n.open(t) },
			Spec:      n.spec,
			Processes: true, Reopens: true, Handler: containerd.Handler,
		}
	})
}
