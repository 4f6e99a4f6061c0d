package oci

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Processes in cgroups that a container has made below its own are found too.
func TestMembersBelow(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	n.add(e, n.spec("p", "c", "exec sleep 1000"))
	c, err := e.findContainer("c")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := e.cgroups.roots()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		below := filepath.Join(r, c.cgroup, "a", "b")
		if err := os.MkdirAll(below, 0o755); err != nil {
			continue // a hierarchy in which the container has no cgroup
		}
		_ = os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(strconv.Itoa(c.record.Init.PID)), 0) // refused by cpuset without processors
	}
	pids, err := e.cgroups.members(c.cgroup)
	if err != nil || len(pids) != 1 || pids[0] != c.record.Init.PID {
		t.Errorf("members: %v %v, want %d", pids, err, c.record.Init.PID)
	}
	if err := e.cgroups.killAll(c.cgroup); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(e); x.ID != "c" || x.Signal != int(unix.SIGKILL) {
		t.Errorf("ended: %+v", x)
	}
}
