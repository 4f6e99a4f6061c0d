package podtest

import (
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 60 * time.Second

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "podtest"}) }

// space gives a test a namespace of its own and kubectl in it.
func space(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	return l, l.Kubectl(l.MakeNamespace(t))
}

// apply creates what a manifest says.
func apply(t *testing.T, k kit.Kubectl, manifest string) {
	t.Helper()
	k.In(manifest).Must(t, "apply", "-f", "-")
}

// awaitField waits until a pod's JSON path has a value that matches an expression.
func awaitField(t *testing.T, k kit.Kubectl, pod, path, expression string) {
	t.Helper()
	kit.Eventually(t, limit, path+" of "+pod, func() error {
		return kit.Matches(k.Must(t, "get", "pod", pod, "-o", "jsonpath={"+path+"}"), expression)
	})
}

// ready waits for pods.
func ready(t *testing.T, k kit.Kubectl, pods ...string) {
	t.Helper()
	args := []string{"wait", "--for=condition=Ready", "--timeout=60s"}
	for _, p := range pods {
		args = append(args, "pod/"+p)
	}
	k.Must(t, args...)
}
