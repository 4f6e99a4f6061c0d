package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime/cri"
)

func TestCRIView(t *testing.T) {
	i := &cri.Image{ID: "sha256:1", Names: []string{"docker.io/library/a:1"}, Digests: []string{"other.io/a@sha256:3", "docker.io/library/a@sha256:2"}}
	for name, want := range map[string]string{
		"docker.io/library/a:1":      "docker.io/library/a@sha256:2",
		"other.io/a@sha256:3":        "other.io/a@sha256:3",
		"127.0.0.1:5000/x:latest":    "other.io/a@sha256:3", // any is better than none
		"docker.io/library/a:latest": "docker.io/library/a@sha256:2",
	} {
		if v := criView("a", name, i); v.ID != want || v.Handle != i.ID || v.Ref != "a" || v.ResolveUser != nil || v.Layers != nil {
			t.Errorf("%s: %+v, want the ID %s", name, v, want)
		}
	}
	if v := criView("a", "docker.io/library/a:1", &cri.Image{ID: "sha256:1"}); v.ID != "sha256:1" {
		t.Errorf("without a digest: %+v", v)
	}
}

// Images go in the order of their last use, unless they are used, pinned or new.
func TestCRICandidates(t *testing.T) {
	now := time.Now()
	s := &criImages{lastUse: map[string]time.Time{
		"old": now.Add(-3 * time.Hour), "older": now.Add(-4 * time.Hour), "young": now.Add(-time.Minute), "used": now.Add(-5 * time.Hour),
		"pinned": now.Add(-6 * time.Hour), "vanished": now.Add(-time.Hour), "by name": now.Add(-time.Hour),
	}}
	all := []*cri.Image{{ID: "old"}, {ID: "older"}, {ID: "young"}, {ID: "used"}, {ID: "pinned", Pinned: true}, {ID: "seen first"}, {ID: "by name", Names: []string{"docker.io/library/a:1"}}}
	used := references{"used": true, "docker.io/library/a:1": true}
	ids := func(minAge time.Duration) string {
		var out []string
		for _, i := range s.candidates(all, used, minAge, now) {
			out = append(out, i.ID)
		}
		return fmt.Sprint(out)
	}
	if got := ids(2 * time.Minute); got != "[older old]" {
		t.Errorf("may go: %s", got)
	}
	if got := ids(0); got != "[older old young seen first]" {
		t.Errorf("may go when somebody asks: %s", got)
	}
	if _, there := s.lastUse["vanished"]; there || !s.lastUse["used"].Equal(now) {
		t.Errorf("noted are %v", s.lastUse)
	}
}
