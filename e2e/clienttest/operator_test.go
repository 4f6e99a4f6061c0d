package clienttest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestOperator: an operator of controller-runtime in two pods. Its webhooks are asked through their Service, its leader dies and the other
// pod goes on, and its finalizer is waited for.
func TestOperator(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	startOperator(t, k)
	site := func(name, spec string) string {
		return fmt.Sprintf("apiVersion: operators.example/v1\nkind: Site\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
	}
	k.In(site("home", "")).Must(t, "create", "-f", "-")
	k.Want(t, "welcome 1", "get", "site", "home", "-o", "jsonpath={.spec.page} {.spec.replicas}")
	kit.WantMatch(t, k.In(site("wide", "replicas: 4")).Fail(t, "create", "-f", "-"),
		`admission webhook "rules.operators.example" denied the request: a site has at most 3 replicas, not 4`)
	kit.WantMatch(t, k.In(site("wide", "replicas: 3")).Try("create", "-f", "-").Err, `Warning: 3 replicas are many`)
	k.Must(t, "delete", "site", "wide", "--timeout=50s")
	k.Becomes(t, limit, "welcome 1", "get", "site", "home", "-o", "jsonpath={.status.page} {.status.ready}")
	kit.WantMatch(t, k.Must(t, "get", "sites"), `NAME +PAGE +READY`, `home +welcome +1`)
	kit.Eventually(t, limit, "the operator's events", func() error {
		return kit.Matches(k.Must(t, "events", "--for", "site/home"), `Normal +Furnished +Site/home +the deployment was created`)
	})
	loseLeader(t, k)
	k.Must(t, "delete", "site", "home", "--timeout=50s")
	k.Want(t, "second", "get", "configmap", "home-farewell", "-o", "jsonpath={.data.page}")
	k.Becomes(t, limit, "", "get", "deployment", "home", "--ignore-not-found", "-o", "name")
}

// loseLeader kills the pod that leads: the other one acts on what comes then.
func loseLeader(t *testing.T, k kit.Kubectl) {
	t.Helper()
	first := k.Must(t, "get", "site", "home", "-o", "jsonpath={.status.by}")
	if holder := k.Must(t, "get", "lease", "sites.operators.example", "-o", "jsonpath={.spec.holderIdentity}"); !strings.HasPrefix(holder, first+"_") {
		t.Errorf("%s acts, %s holds the lease", first, holder)
	}
	k.Must(t, "delete", "pod", first, "--force", "--grace-period=0")
	kit.Eventually(t, limit, "a webhook that answers", func() error {
		return k.Try("patch", "site", "home", "--type=merge", "-p", `{"spec":{"page":"second"}}`).Failure()
	})
	k.Becomes(t, limit, "second 1", "get", "site", "home", "-o", "jsonpath={.status.page} {.status.ready}")
	if second := k.Must(t, "get", "site", "home", "-o", "jsonpath={.status.by}"); second == first {
		t.Errorf("%s still acts", first)
	}
}

// startOperator waits until both pods of the operator are ready. What it makes outside of its namespace goes with the test.
func startOperator(t *testing.T, k kit.Kubectl) {
	t.Helper()
	authority, key, err := cert.GenerateSelfSignedCertKey("operator."+k.Namespace+".svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": authority, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.Must(t, "create", "secret", "tls", "certificates", "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key"))
	text, err := os.ReadFile("testdata/operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.NewReplacer("$(namespace)", k.Namespace, "$(authority)", base64.StdEncoding.EncodeToString(authority), "$(program)", kit.ClientPath("operator")).Replace(string(text))
	t.Cleanup(func() {
		k.Try("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "sites.operators.example")
		// No operator may be left to let sites go.
		k.Try("patch", "site", "home", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		k.Try("delete", "crd", "sites.operators.example", "--wait=false")
	})
	k.In(manifest).Must(t, "apply", "-f", "-")
	rolledOut(t, k, "operator")
}
