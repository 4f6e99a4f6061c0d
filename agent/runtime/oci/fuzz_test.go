package oci

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// FuzzRecord: a file of an earlier agent is unreadable, or a record that is the same when it is written again.
func FuzzRecord(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "record.json")
	for _, r := range []any{
		&containerRecord{Spec: runtime.ContainerSpec{ID: "c1", PodUID: "u", Name: "c"}, Init: process{7, 8}, Started: time.Unix(9, 0),
			CgroupPaths: map[string]string{"memory": "/x"}, Exit: &exitRecord{Code: 137, Finished: time.Unix(10, 5)}},
		&podRecord{Spec: runtime.SandboxSpec{PodUID: "u"}, Pause: process{7, 8}, BootID: "b"},
	} {
		if err := writeJSON(path, r); err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(path) // #nosec G304 -- our own
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkRecord[containerRecord](t, path, b)
		checkRecord[podRecord](t, path, b)
	})
}

func checkRecord[R any](t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var first, again R
	if readJSON(path, &first) != nil {
		return
	}
	if c, ok := any(&first).(*containerRecord); ok {
		_ = c.state()
	}
	if err := writeJSON(path, &first); err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if err := readJSON(path, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Fatalf("(-first +again):\n%s", diff)
	}
}

// TestRecordOfAnotherPod: a file that does not say whose it is must not lend its pod somebody else's directory.
func TestRecordOfAnotherPod(t *testing.T) {
	for _, content := range []string{"null", "{}", `{"Spec":{"PodUID":"other"}}`, `{"Spec":`} {
		e := &Executor{cfg: Config{StateDir: t.TempDir()}, pods: map[string]*pod{}, log: hclog.NewNullLogger()}
		if err := os.MkdirAll(e.podDir("u1"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(e.podDir("u1"), "pod.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.recoverPods("boot"); err != nil {
			t.Fatal(err)
		}
		if p := e.pods["u1"]; p == nil || p.record.Spec.PodUID != "u1" {
			t.Errorf("%s: %+v", content, p)
		}
	}
}
