package clienttest

import (
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestKustomize: what kustomize builds is applied, by its own program and by the one within kubectl, to the same effect.
func TestKustomize(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kustomize := tool{kit.ClientPath("kustomize"), k.Namespace, nil}
	k.In(kustomize.must(t, "build", "testdata/kustomize/overlay")).Must(t, "apply", "-f", "-")
	rolledOut(t, k, "test-web")
	k.Want(t, "2 test hello base", "get", "deployment", "test-web", "-o",
		`jsonpath={.status.readyReplicas} {.spec.template.metadata.labels.stage} {.spec.template.spec.containers[0].env[?(@.name=="GREETING")].value} {.metadata.annotations.from}`)
	for _, same := range []string{"diff", "apply"} {
		if out := k.Must(t, same, "-k", "testdata/kustomize/overlay"); same == "diff" && out != "" {
			t.Errorf("kubectl's kustomize builds something else:\n%s", out)
		} else if same == "apply" && kit.Matches(out, `configured|created`) == nil {
			t.Errorf("applied again, something changed:\n%s", out)
		}
	}
	// A generated name follows its content: the pods start anew with it, and what has no place any more is pruned.
	k.Must(t, "apply", "-k", "testdata/kustomize/changed", "--prune", "-l", "app=web", "--prune-allowlist=core/v1/ConfigMap")
	rolledOut(t, k, "test-web")
	k.Want(t, "changed", "get", "configmap", "-l", "app=web", "-o", "jsonpath={.items[*].data.PAGE}")
	k.Must(t, "delete", "-k", "testdata/kustomize/changed", "--timeout=50s")
	k.Want(t, "", "get", "deployment,service,configmap", "-l", "app=web", "-o", "name")
}
