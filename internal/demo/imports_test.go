package demo

import (
	"os/exec"
	"strings"
	"testing"
)

// Everything that this package imports initialises before a tool can run.
func TestImportsStayLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		ok := p == "github.com/peapod-sh/peapod/internal/demo"
		for _, allowed := range []string{"mvdan.cc/sh/v3/", "golang.org/x/"} {
			ok = ok || strings.HasPrefix(p, allowed)
		}
		if !ok {
			t.Errorf("%s is imported", p)
		}
	}
}
