package kubectltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const apiClient = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  serviceAccountName: robot
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: peapod/demo, command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: without}
spec:
  serviceAccountName: robot
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: peapod/demo, command: [sleep, "3600"]}]
`

// A pod finds the API by itself, as client libraries do in a cluster, is known as its account, and may do what the account may.
func TestPodTalksToTheAPI(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(apiClient).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/client", "pod/without", "--timeout=60s")
	kit.WantMatch(t, k.Fail(t, "exec", "client", "--", "peapod", "get", "pods"),
		`cannot list resource "pods" in API group "" in the namespace "`+k.Namespace+`"`, `User "system:serviceaccount:`+k.Namespace+`:robot"`)
	k.Must(t, "create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount="+k.Namespace+":robot")
	kit.Eventually(t, 10*time.Second, "the role reaches every server", func() error {
		return kit.Matches(k.Try("exec", "client", "--", "peapod", "get", "pods").Out, `^client +1/1 +Running`)
	})
	kit.WantMatch(t, k.Fail(t, "exec", "client", "--", "peapod", "get", "secrets"), `forbidden`)
	who := k.Must(t, "exec", "client", "--", "peapod", "auth", "whoami")
	kit.WantMatch(t, who, `^Username +system:serviceaccount:`+k.Namespace+`:robot$`, `pod-name +\[client\]`, `node-name +\[client\d\]`)
	if out := k.Must(t, "exec", "client", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"); out != k.Namespace {
		t.Errorf("the namespace in the pod is %q", out)
	}
	if out := k.Try("exec", "without", "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount"); out.Code == 0 {
		t.Errorf("a pod that wants no token has %q", out.Out)
	}
	// The token dies with its pod.
	token := k.Must(t, "exec", "client", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	bare := k.Using(withoutCredentials(t, k))
	as := func() kit.Result { return bare.Try("--token="+token, "auth", "whoami") }
	if r := as(); r.Code != 0 {
		t.Fatalf("the pod's token outside of it: %+v", r)
	}
	k.Must(t, "delete", "pod", "client", "--now")
	kit.Eventually(t, 10*time.Second, "the token of a pod that is gone is refused", func() error {
		return kit.Matches(as().Err, `Unauthorized|must be logged in`)
	})
}

// withoutCredentials writes a kubeconfig that knows the cluster only.
func withoutCredentials(t *testing.T, k kit.Kubectl) string {
	t.Helper()
	cluster := strings.Fields(k.Must(t, "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server} {.clusters[0].cluster.certificate-authority-data}"))
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + cluster[0] + "', certificate-authority-data: " + cluster[1] + "}}]\n" +
		"contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A person gets a kubeconfig from the operator, or by a signing request, and may do what is bound to his name and groups.
func TestPeople(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	file := filepath.Join(t.TempDir(), "jane")
	out, err := exec.Command(kit.Peapod(), "kubeconfig", "create", "--data-dir", filepath.Join(l.Dir, "server1", "data"), "--user", "jane", "--group", "crew-"+k.Namespace).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	jane := k.Using(file)
	kit.WantMatch(t, jane.Fail(t, "get", "configmaps"), `User "jane" cannot list resource "configmaps"`)
	k.Must(t, "create", "rolebinding", "crew", "--clusterrole=edit", "--group=crew-"+k.Namespace)
	kit.Eventually(t, 10*time.Second, "the role reaches every server", func() error {
		return kit.Matches(jane.Try("auth", "can-i", "create", "configmaps").Out, `\Ayes\n\z`)
	})
	jane.Must(t, "create", "configmap", "hers", "--from-literal=a=b")
	kit.WantMatch(t, jane.Fail(t, "create", "role", "more", "--verb=get", "--resource=nodes"), `cannot create resource "roles"`)
	kit.WantMatch(t, jane.Fail(t, "get", "nodes"), `cannot list resource "nodes" in API group "" at the cluster scope`)
	kit.WantMatch(t, jane.Must(t, "auth", "can-i", "--list"), `^configmaps +\[\] +\[\] +\[.*create.*\]$`)
	if r := jane.Try("auth", "can-i", "get", "nodes"); strings.TrimSpace(r.Out) != "no" || r.Code != 1 {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, k.Must(t, "get", "configmap", "hers", "--as=jane", "--as-group=crew-"+k.Namespace), `^hers `)
	kit.WantMatch(t, k.Fail(t, "get", "configmap", "hers", "--as=joe"), `User "joe" cannot get`)
	kit.WantMatch(t, jane.Fail(t, "get", "configmap", "hers", "--as=joe"), `User "jane" cannot impersonate resource "users"`)
}
