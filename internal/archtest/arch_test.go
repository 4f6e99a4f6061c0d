// Package archtest holds the import graph to the floors of docs/ARCHITECTURE.md.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/peapod-sh/peapod"

// may lists, for each top-level folder, the folders of this module that it may import (besides
// itself and internal). Anything not listed is an arrow that goes up or sideways.
var may = map[string][]string{
	"":         {"cli", "internal"},
	"cli":      {"server", "agent", "fsm", "sched", "netproxy", "jobspecs", "rpc", "api"},
	"server":   {"fsm", "sched", "rpc", "api", "jobspecs"},
	"agent":    {"rpc", "netproxy", "api"},
	"fsm":      {"api"},
	"sched":    {"api"},
	"netproxy": {"api"},
	"jobspecs": {"api"},
	"rpc":      {"api"},
	"api":      {},
	"internal": {},
}

// only lists libraries that may be named in these folders alone.
var only = map[string][]string{
	"github.com/hashicorp/raft":       {"server", "rpc"},
	"github.com/hashicorp/memberlist": {"rpc/gossip"},
}

type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func TestFloors(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, path := range p.Imports {
			checkFloor(t, from, path)
			checkLibrary(t, from, path)
		}
	}
}

func checkFloor(t *testing.T, from, path string) {
	t.Helper()
	to, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return
	}
	a, b := top(from), top(to)
	if a == b || b == "internal" {
		return
	}
	for _, ok := range may[a] {
		if ok == b {
			return
		}
	}
	t.Errorf("%s imports %s: %q may import only %v and internal (docs/ARCHITECTURE.md, floors)", from, to, a, may[a])
}

func checkLibrary(t *testing.T, from, path string) {
	t.Helper()
	places, limited := only[path]
	if !limited {
		return
	}
	for _, p := range places {
		if from == p || strings.HasPrefix(from, p+"/") {
			return
		}
	}
	t.Errorf("%s imports %s, which belongs to %v only", from, path, places)
}

func top(folder string) string {
	first, _, _ := strings.Cut(folder, "/")
	return first
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
