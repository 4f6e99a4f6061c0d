package oci

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// A container begins as the small program, if there is one: it is seen behind the gate.
func TestBeginsAsTheSmallProgram(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if e.init == nil {
		t.Skip("not embedded: make build does it")
	}
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	spec := n.spec("p", "c", "exec sleep 1000")
	p := e.podFor("p")
	c := e.newContainer(containerRecord{Spec: spec, BootID: p.record.BootID}, p.record.Spec)
	if err := os.MkdirAll(e.containerDir("c"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := e.mountRootfs(c, p.record.Pause.PID); err != nil {
		t.Fatal(err)
	}
	f, err := e.frameFor(p, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.prepare(c, f); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(c.record.Init.PID), "exe"))
	if err != nil || !strings.Contains(exe, "memfd:") {
		t.Errorf("its first process runs %q: %v", exe, err)
	}
	if err := e.release(c); err != nil {
		t.Fatal(err)
	}
	n.want(e, "c", "! ls -l /proc/1/exe | grep memfd")
}
