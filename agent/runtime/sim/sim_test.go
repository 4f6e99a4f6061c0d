package sim

import (
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(*testing.T) runtimetest.Subject {
		return runtimetest.Subject{
			Open: func(*testing.T) runtimetest.Executor { return New(0) },
			Spec: func(pod, id, _ string) runtime.ContainerSpec {
				return runtime.ContainerSpec{ID: id, PodUID: pod, Name: id}
			},
		}
	})
}

func TestEndsByItself(t *testing.T) {
	e := New(0)
	defer e.Close()
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "p"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartContainer(t.Context(), runtime.ContainerSpec{ID: "c", PodUID: "p"}); err != nil {
		t.Fatal(err)
	}
	if err := e.End("c", 3); err != nil {
		t.Fatal(err)
	}
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := <-e.Exits(); x.ExitCode != 3 {
		t.Errorf("ended as %+v, want code 3", x)
	}
}
