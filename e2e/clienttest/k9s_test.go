package clienttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestK9s: k9s in a terminal shows pods as they are, describes, reads and follows logs, opens a shell and deletes.
func TestK9s(t *testing.T) {
	t.Parallel()
	program := filepath.Join(kit.Root(), "bin", "k9s")
	if _, err := os.Stat(program); err != nil {
		t.Skip("`make k9s` builds it, which takes minutes")
	}
	l, k := space(t)
	k.In(talk).Must(t, "apply", "-f", "-")
	rolledOut(t, k, "talk")
	pods := strings.Fields(k.Must(t, "get", "pods", "--sort-by=.metadata.name", "-o", "jsonpath={.items[*].metadata.name}"))
	s := open(t, l, program, "-n", k.Namespace)
	for _, pod := range pods {
		s.shows(pod + ` .* 2/2 +Running +0 .* client[12] `)
	}
	s.goTo("deploy", `deployments\(`+k.Namespace+`\)\[1\]`)
	s.keys("d")
	s.shows(`Replicas: +2 desired \| 2 updated \| 2 total \| 2 available`)
	s.keys("Escape")
	s.shows(`deployments\(`) // or what follows would be taken for Alt
	s.goTo("pods", `pods\(`+k.Namespace+`\)\[2\]`)
	s.keys("Enter")
	s.shows(`M1 +main .* true +Running +0 `)
	s.keys("Down", "l")
	s.shows(`line 5`)
	k.Must(t, "exec", pods[0], "-c", "main", "--", "touch", "/tmp/go")
	s.shows(`gone`)
	s.keys("Escape")
	s.shows(`M1 +main `)
	s.keys("s")
	s.shows(`Pod: ` + k.Namespace + `/` + pods[0] + ` \| Container: main\n(.*\n)*/ #`)
	s.types("echo it is $((40+2)) in $(hostname)")
	s.shows(`^it is 42 in ` + pods[0])
	s.types("exit")
	s.shows(`M1 +main `)
	s.keys("Escape")
	s.shows(`pods\(` + k.Namespace + `\)\[2\]`)
	s.keys("C-d")
	s.shows(`Delete pods ` + k.Namespace + `/` + pods[0] + `\?`)
	s.keys("Tab", "Enter")
	k.Becomes(t, limit, "", "get", "pod", pods[0], "--ignore-not-found", "-o", "name")
	rolledOut(t, k, "talk")
}

// screen is a program in a terminal of tmux.
type screen struct {
	t      *testing.T
	socket string
}

// open runs a program in a terminal until the test ends.
func open(t *testing.T, l *kit.Lab, program ...string) screen {
	t.Helper()
	home := t.TempDir()
	s := screen{t, filepath.Join(home, "tmux")}
	for variable, value := range map[string]string{"HOME": home, "KUBECONFIG": l.Kubeconfig, "TERM": "xterm-256color",
		"PATH": filepath.Dir(kit.KubectlPath()) + ":" + os.Getenv("PATH"), "K9S_CONFIG_DIR": filepath.Join(home, "k9s")} {
		program = append([]string{variable + "=" + value}, program...)
	}
	s.tmux(append([]string{"new-session", "-d", "-x", "180", "-y", "45", "env"}, program...)...)
	t.Cleanup(func() { s.tmux("kill-server") })
	return s
}

func (s screen) tmux(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", s.socket, "-f", "/dev/null"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys presses keys.
func (s screen) keys(names ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, names...)...)
}

// types writes a line.
func (s screen) types(text string) { s.t.Helper(); s.tmux("send-keys", "-l", text); s.keys("Enter") }

// shows waits until what can be seen matches.
func (s screen) shows(expression string) {
	s.t.Helper()
	kit.Eventually(s.t, limit, "the screen", func() error { return kit.Matches(s.tmux("capture-pane", "-p"), expression) })
}

// goTo is k9s' way to another view.
func (s screen) goTo(view, title string) {
	s.t.Helper()
	s.keys(":")
	s.shows(`🐶>`)
	s.types(view)
	s.shows(title)
}
