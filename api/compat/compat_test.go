package compat

import (
	"os"
	"testing"
)

// Nothing is passed over in silence: what no code acts on has a verdict, and the page says it.
func TestThePageIsTrue(t *testing.T) {
	uses, err := Uses("../..", Tags)
	if err != nil {
		t.Fatal(err)
	}
	// The search does find: a field that pods cannot do without, and none of those that only the API looks at.
	for name, want := range map[string]bool{"core/v1.PodSpec.Containers": true, "core/v1.Container.Image": true, "core/v1.NFSVolumeSource.Path": false} {
		if uses[name] != want {
			t.Errorf("%s is acted on: %v", name, uses[name])
		}
	}
	page, faults := Page(uses)
	for _, f := range faults {
		t.Error(f)
	}
	b, err := os.ReadFile("../../docs/COMPATIBILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != page {
		t.Error("docs/COMPATIBILITY.md is not what `make generate` would write")
	}
}

// A page of a source that reads nothing has only faults and verdicts.
func TestFaultsAreFound(t *testing.T) {
	if _, faults := Page(map[string]bool{}); len(faults) < 100 {
		t.Errorf("%d faults", len(faults))
	}
}
