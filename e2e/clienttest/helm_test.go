package clienttest

import (
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// chart has an object of every kind that charts commonly have, hooks, a definition and a test.
const chart = "testdata/chart"

// release is one installation of the chart by one version of helm.
type release struct {
	h tool
	k kit.Kubectl
}

// TestHelm: the life of a release. helm 3 sends three-way patches and polls, helm 4 applies on the server and watches: what they ask of the API has little in common.
func TestHelm(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3", "4"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l, k := space(t)
			r := release{helm(t, l, version, k.Namespace), k}
			r.install(t)
			r.upgrade(t)
			r.fail(t)
			r.rollback(t)
			r.uninstall(t)
		})
	}
}

func (r release) install(t *testing.T) {
	t.Helper()
	kit.WantMatch(t, r.h.must(t, "install", "shop", chart, "--wait", "--timeout", patience), `STATUS: deployed`, `Shows page one on Kubernetes v1\.\d+\.\d+.*which scales`)
	r.complete(t, "one")
	r.k.Want(t, "Complete Complete", "get", "job", "shop-pre-install", "shop-post-install", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Complete")].type}`)
	kit.WantMatch(t, r.h.must(t, "list"), `^shop\s+`+r.k.Namespace+`\s+1\s.*deployed\s+common-0.1.0\s+1\s*$`)
	kit.WantMatch(t, r.h.must(t, "status", "shop"), `STATUS: deployed`)
	r.drift(t)
}

// complete holds at the very moment in which helm has ended its waiting.
func (r release) complete(t *testing.T, page string) {
	t.Helper()
	r.k.Want(t, "2 2 "+page, "get", "deployment", "shop-web", "-o", "jsonpath={.status.updatedReplicas} {.status.readyReplicas} {.spec.template.metadata.annotations.page}")
	r.k.Want(t, "1", "get", "statefulset", "shop-data", "-o", "jsonpath={.status.readyReplicas}")
	r.k.Want(t, "2", "get", "daemonset", "shop-agent", "-o", "jsonpath={.status.numberReady}")
	r.k.Want(t, "Bound Bound", "get", "pvc", "-o", "jsonpath={.items[*].status.phase}")
	r.k.Want(t, page, "get", "gadget", "shop", "-o", "jsonpath={.spec.page}")
}

// test runs the chart's own test, which asks the web server through its service.
func (r release) test(t *testing.T, page string) {
	t.Helper()
	kit.WantMatch(t, r.h.must(t, "test", "shop", "--logs", "--timeout", patience), `Phase: +Succeeded`, `^ *PAGE=`+page+`$`)
}

// drift: what is stored is what helm says it installed, or each upgrade would find changes that nobody made.
func (r release) drift(t *testing.T) {
	t.Helper()
	if got := r.k.In(r.h.must(t, "get", "manifest", "shop")).Try("diff", "-f", "-"); got.Code != 0 {
		t.Errorf("the release differs from its manifest:\n%s%s", got.Out, got.Err)
	}
}

func (r release) upgrade(t *testing.T) {
	t.Helper()
	password := r.password(t)
	r.h.must(t, "upgrade", "shop", chart, "--set", "page=two", "--wait", "--timeout", patience)
	r.complete(t, "two")
	r.test(t, "two")
	if now := r.password(t); now != password {
		t.Errorf("the password was made anew: %s, before %s", now, password)
	}
	kit.WantMatch(t, r.h.must(t, "upgrade", "shop", chart, "--set", "page=seen", "--dry-run=server"), `page: "seen"`)
	r.k.Want(t, "two", "get", "gadget", "shop", "-o", "jsonpath={.spec.page}")
}

func (r release) password(t *testing.T) string {
	t.Helper()
	return r.k.Must(t, "get", "secret", "shop", "-o", "jsonpath={.data.password}")
}

// fail: of an upgrade to what does not exist nobody who asks for the page hears anything.
func (r release) fail(t *testing.T) {
	t.Helper()
	if got := r.h.try("upgrade", "shop", chart, "--set", "page=three,image=peapod/none", "--wait", "--timeout", "4s"); got.Code == 0 {
		t.Fatalf("pods of no image became ready:\n%s", got.Out)
	}
	kit.WantMatch(t, r.h.must(t, "history", "shop"), `^2\s.*deployed\s`, `^3\s.*failed\s.*Upgrade "shop" failed`)
	kit.WantMatch(t, r.k.Must(t, "get", "deployment", "shop-web"), `shop-web +[12]/2`)
}

func (r release) rollback(t *testing.T) {
	t.Helper()
	kit.WantMatch(t, r.h.must(t, "rollback", "shop", "1", "--wait", "--timeout", patience), `Rollback was a success`)
	r.complete(t, "one")
	kit.WantMatch(t, r.h.must(t, "history", "shop"), `^2\s.*superseded\s`, `^4\s.*deployed\s.*Rollback to 1`)
}

func (r release) uninstall(t *testing.T) {
	t.Helper()
	r.h.must(t, "uninstall", "shop", "--wait", "--timeout", patience)
	r.k.Want(t, "", "get", "all,configmap,secret,serviceaccount,pvc,ingress,networkpolicy,pdb,role,rolebinding,gadget", "-l", "app.kubernetes.io/managed-by=Helm", "-o", "name")
	r.k.Want(t, "", "get", "clusterrole,clusterrolebinding", r.k.Namespace+"-shop", "--ignore-not-found", "-o", "name")
	r.k.Want(t, "", "get", "secret", "-l", "owner=helm", "-o", "name")
	r.k.Want(t, "Complete", "get", "job", "shop-pre-delete", "-o", `jsonpath={.status.conditions[?(@.type=="Complete")].type}`)
	kit.Eventually(t, limit, "the set's claims go with it", func() error {
		return kit.Matches(r.k.Must(t, "get", "pvc", "-o", "name"), `\A\s*\z`)
	})
}
