package kubectltest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// wantCgroup wants, for each "v1-file|v2-file", some cgroup of the pod in which its content matches.
func wantCgroup(t *testing.T, n kit.Node, uid string, want map[string]string) {
	t.Helper()
	for names, expression := range want {
		var seen []string
		found := false
		for _, file := range cgroupFiles(n, uid, strings.Split(names, "|")) {
			b, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			seen = append(seen, file+": "+strings.TrimSpace(string(b)))
			found = found || regexp.MustCompile(expression).MatchString(strings.TrimSpace(string(b)))
		}
		if !found {
			t.Errorf("no cgroup of pod %s has %s matching %q; seen:\n%s", uid, names, expression, strings.Join(seen, "\n"))
		}
	}
}

// cgroupFiles finds files of these names in the pod's cgroups, in any hierarchy.
func cgroupFiles(n kit.Node, uid string, names []string) []string {
	var out []string
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.Cgroup)
	for _, root := range append(roots, "/sys/fs/cgroup/"+n.Cgroup) {
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(p, uid) {
				for _, name := range names {
					if filepath.Base(p) == name {
						out = append(out, p)
					}
				}
			}
			return nil
		})
	}
	return out
}
