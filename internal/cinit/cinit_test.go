package cinit

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func build(runc, tags string) *debug.BuildInfo {
	return &debug.BuildInfo{
		Deps:     []*debug.Module{{Path: "example.com/other", Version: "v1.0.0"}, {Path: "github.com/opencontainers/runc", Version: runc}},
		Settings: []debug.BuildSetting{{Key: "-tags", Value: tags}},
	}
}

// A program from another state of the tree must not be used.
func TestFits(t *testing.T) {
	for name, c := range map[string]struct {
		theirs *debug.BuildInfo
		want   string // in the error
	}{
		"the same":      {build("v1.5.2", "seccomp"), ""},
		"an older runc": {build("v1.5.1", "seccomp"), "runc v1.5.1"},
		"other tags":    {build("v1.5.2", ""), `the tags ""`},
	} {
		err := fits(c.theirs, build("v1.5.2", "seccomp"))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is embedded is handed out sealed, and is a program.
func TestOpen(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil && strings.Contains(err.Error(), "run make build") {
		t.Skip(err) // the test was built otherwise than what is embedded
	}
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		t.Skip("not embedded: make build does it")
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		t.Errorf("begins with %q: %v", magic, err)
	}
	if _, err := f.WriteAt(magic, 0); err == nil {
		t.Error("it can be written to")
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY, 0)
	if err == nil {
		defer again.Close()
		if _, err := again.Write(magic); err == nil {
			t.Error("it can be written to when it is opened again")
		}
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, 0); err == nil {
		t.Error("its seals can be changed")
	}
}
