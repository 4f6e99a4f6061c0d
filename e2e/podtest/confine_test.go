package podtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// confineLimit is how long anything may take on a busy machine; nothing here is timed.
const confineLimit = 60 * time.Second

func confineSpace(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	return l, l.Kubectl(l.MakeNamespace(t))
}

// confinePod is a pod's manifest; fields of its spec and of its one container come as JSON members without the braces.
func confinePod(name, pod, container string) string {
	if pod != "" {
		pod += ", "
	}
	if container != "" {
		container += ", "
	}
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q}, "spec": {"terminationGracePeriodSeconds": 0, %s"containers": [
  {"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", %s"command": ["sh", "-c", "while :; do sleep 1000; done"]}]}}
`, name, pod, container)
}

func confineRun(t *testing.T, k kit.Kubectl, names string, manifests ...string) {
	t.Helper()
	k.In(strings.Join(manifests, "---\n")).Must(t, "apply", "-f", "-")
	for _, n := range strings.Fields(names) {
		k.Must(t, "wait", "--for=condition=Ready", "pod/"+n, "--timeout=60s")
	}
}

// confineSays runs a script in a pod and compares what it prints.
func confineSays(t *testing.T, k kit.Kubectl, pod, script, want string) {
	t.Helper()
	r := k.Try("exec", pod, "--", "sh", "-c", script)
	if got := strings.TrimSpace(r.Out); got != want {
		t.Errorf("in %s: %s: got %q (%s), want %q", pod, script, got, strings.TrimSpace(r.Err), want)
	}
}

func confineField(t *testing.T, k kit.Kubectl, object, path, want string) {
	t.Helper()
	kit.Eventually(t, confineLimit, object+path, func() error {
		if got := k.Must(t, "get", object, "-o", "jsonpath={"+path+"}"); got != want {
			return fmt.Errorf("%s%s is %q, want %q", object, path, got, want)
		}
		return nil
	})
}
