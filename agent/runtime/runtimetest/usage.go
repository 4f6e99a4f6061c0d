package runtimetest

import (
	"errors"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// usageAndResizing: what runs is counted and can be given other limits, what has ended neither.
func usageAndResizing(t *testing.T, s Subject) {
	e := open(t, s)
	start(t, e, s, "pod-u", "c-busy", "i=0; while :; do i=$((i+1)); done")
	start(t, e, s, "pod-u", "c-idle", forever)
	defer remove(t, e, "pod-u")
	limits := runtime.Resources{CPUShares: 512, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryBytes: 256 << 20}
	for _, id := range []string{"", "c-busy"} {
		if err := e.Resize(t.Context(), "pod-u", id, limits); err != nil {
			t.Errorf("resizing %q: %v", id, err)
		}
	}
	if s.Processes {
		busyUses(t, e)
	}
	st, err := e.Stats(t.Context(), "pod-u")
	if err != nil || len(st.Containers) != 2 || st.Time.IsZero() {
		t.Errorf("the usage is %+v, %v", st, err)
	}
	for _, c := range []struct{ pod, id string }{{"none", ""}, {"pod-u", "none"}} {
		if err := e.Resize(t.Context(), c.pod, c.id, limits); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("resizing %q of %q: %v", c.id, c.pod, err)
		}
	}
	if _, err := e.Stats(t.Context(), "none"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("the usage of a pod that is not there: %v", err)
	}
}

// busyUses waits until the busy container's processor time is seen in it and in its pod.
func busyUses(t *testing.T, e Executor) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		st, err := e.Stats(t.Context(), "pod-u")
		if err != nil {
			t.Fatal(err)
		}
		busy := st.Containers["c-busy"]
		if busy.CPUNanos > 50e6 && st.CPUNanos >= busy.CPUNanos && busy.Processes > 0 && st.WorkingSetBytes > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("a container that computes uses %+v of its pod's %+v", busy, st.Usage)
		}
	}
}
