package kubectltest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func TestAuth(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kit.WantMatch(t, k.Must(t, "auth", "whoami"), `^ATTRIBUTE +VALUE$`, `^Username +admin$`, `^Groups +\[system:masters system:authenticated\]$`, `^Extra: authentication.kubernetes.io/credential-id +\[X509SHA256=[0-9a-f]{64}\]$`)
	kit.WantMatch(t, k.Must(t, "auth", "whoami", "--as=ann", "--as-group=peas", "--as-uid=7", "-o", "json"), `"username": "ann"`, `"uid": "7"`, `"peas"`, `"kind": "SelfSubjectReview"`)
	k.Want(t, "yes", "auth", "can-i", "create", "pods")
	k.Want(t, "yes", "auth", "can-i", "*", "*")
	k.Must(t, "create", "role", "looker", "--verb=get,list", "--resource=pods,pods/log")
	k.Must(t, "create", "role", "one", "--verb=delete", "--resource=configmaps", "--resource-name=mine")
	k.Must(t, "create", "rolebinding", "looker", "--role=looker", "--user=auth-ann")
	k.Must(t, "create", "rolebinding", "one", "--role=one", "--user=auth-ann")
	kit.Eventually(t, limit, "the rules", func() error {
		return kit.Matches(k.Try("auth", "can-i", "delete", "cm/mine", "--as=auth-ann").Out, `^yes$`)
	})
	for ask, want := range map[string]string{
		"get pods": "yes", "get pods --subresource=log": "yes", "delete pods": "no", "delete cm/mine": "yes", "delete cm/other": "no",
		"get pods -A": "no", "get /healthz": "yes", "get /metrics": "no",
	} {
		r := k.Try(append([]string{"auth", "can-i", "--as=auth-ann"}, strings.Fields(ask)...)...)
		if strings.TrimSpace(r.Out) != want || (r.Code == 0) != (want == "yes") {
			t.Errorf("can-i %s: %+v, want %s", ask, r, want)
		}
	}
	if r := k.Try("auth", "can-i", "delete", "pods", "--as=auth-ann", "--quiet"); r.Code != 1 || r.Out != "" {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, k.Try("auth", "can-i", "get", "nothings").Err, `^Warning: the server doesn't have a resource type 'nothings'$`)
	list := k.Must(t, "auth", "can-i", "--list", "--as=auth-ann")
	kit.WantMatch(t, list, `^Resources +Non-Resource URLs +Resource Names +Verbs$`, `^pods/log +\[\] +\[\] +\[get list\]$`, `^configmaps +\[\] +\[mine\] +\[delete\]$`,
		`^selfsubjectreviews.authentication.k8s.io +\[\] +\[\] +\[create\]$`, `^ +\[/healthz\] +\[\] +\[get\]$`)
	if strings.Contains(list, "*.*") {
		t.Errorf("somebody may do everything:\n%s", list)
	}
	kit.WantMatch(t, k.Must(t, "auth", "can-i", "--list"), `^\*\.\* +\[\] +\[\] +\[\*\]$`, `^ +\[\*\] +\[\] +\[\*\]$`)
	kit.WantMatch(t, k.Fail(t, "delete", "pods", "x", "--as=auth-ann"), `^Error from server \(Forbidden\): pods "x" is forbidden: User "auth-ann" cannot delete resource "pods" in API group "" in the namespace "`+k.Namespace+`"$`)
}

func TestAuthReconcile(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	text := func(verb, user string) kit.Kubectl {
		return k.In(strings.NewReplacer("NAMESPACE", k.Namespace, "VERB", verb, "USER", user).Replace(`apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: rec, namespace: NAMESPACE}
rules: [{apiGroups: [""], resources: [pods], verbs: [VERB]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rec, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: rec}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: USER}]
`))
	}
	both := "role.rbac.authorization.k8s.io/rec reconciled\nrolebinding.rbac.authorization.k8s.io/rec reconciled\n"
	r := text("get", "ann").Try("auth", "reconcile", "-f", "-")
	if r.Code != 0 || r.Out != both {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Err, `^\treconciliation required create$`, `^\tmissing rules added:$`, `Verbs:\[get\]`)
	// What is there stays, and is taken away only if it is asked for.
	text("list", "bob").Want(t, both, "auth", "reconcile", "-f", "-")
	k.Want(t, `["get"] ["list"] ann bob`, "get", "role/rec", "rolebinding/rec", "-o", "jsonpath={.items[0].rules[*].verbs} {.items[1].subjects[*].name}")
	text("list", "bob").Want(t, both, "auth", "reconcile", "-f", "-", "--remove-extra-permissions", "--remove-extra-subjects")
	k.Want(t, `["list"] bob`, "get", "role/rec", "rolebinding/rec", "-o", "jsonpath={.items[0].rules[*].verbs} {.items[1].subjects[*].name}")
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Namespace = ""
	request := func(name string) string {
		return "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: " + name + "}\nspec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], expirationSeconds: 3600, request: " +
			certificateRequest(t, "cert-ann", "peas") + "}\n---\n"
	}
	k.In(request("cert-yes")+request("cert-no")).Want(t, "certificatesigningrequest.certificates.k8s.io/cert-yes created\ncertificatesigningrequest.certificates.k8s.io/cert-no created", "create", "-f", "-")
	t.Cleanup(func() { k.Must(t, "delete", "csr", "cert-yes", "cert-no") })
	k.Want(t, "certificatesigningrequest.certificates.k8s.io/cert-yes approved", "certificate", "approve", "cert-yes")
	k.Want(t, "certificatesigningrequest.certificates.k8s.io/cert-no denied", "certificate", "deny", "cert-no")
	kit.WantMatch(t, k.Fail(t, "certificate", "deny", "cert-yes"), `^error: certificate signing request "cert-yes" is already Approved$`)
	kit.Eventually(t, limit, "the certificate", func() error {
		return kit.Matches(k.Must(t, "get", "csr", "cert-yes", "cert-no"), `^cert-yes +\S+ +kubernetes.io/kube-apiserver-client +admin +60m +Approved,Issued\ncert-no +\S+ +kubernetes.io/kube-apiserver-client +admin +60m +Denied$`)
	})
	k.Want(t, "KubectlApprove This CSR was approved by kubectl certificate approve.", "get", "csr", "cert-yes", "-o", "jsonpath={.status.conditions[0].reason} {.status.conditions[0].message}")
	kit.WantMatch(t, k.Must(t, "get", "csr", "cert-yes", "-o", "go-template={{.status.certificate | base64decode}}"), `^-----BEGIN CERTIFICATE-----$`)
	k.Want(t, "", "get", "csr", "cert-no", "-o", "jsonpath={.status.certificate}")
}

// TestConfig changes a copy of the kubeconfig, and uses what it made.
func TestConfig(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	b, err := os.ReadFile(l.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c := l.Kubectl("").Using(file)
	kit.WantMatch(t, c.Must(t, "config", "get-contexts"), `^CURRENT +NAME +CLUSTER +AUTHINFO +NAMESPACE$`, `^\* +peapod +peapod +admin +default$`)
	c.Want(t, "peapod", "config", "current-context")
	c.Want(t, `Context "here" created.`, "config", "set-context", "here", "--cluster=peapod", "--user=admin", "--namespace="+k.Namespace)
	c.Want(t, `Switched to context "here".`, "config", "use-context", "here")
	c.Want(t, `Context "here" modified.`, "config", "set-context", "--current", "--user=admin")
	c.Want(t, "configmap/settings created", "create", "cm", "settings")
	k.Want(t, "configmap/settings", "get", "cm", "settings", "-o", "name")
	kit.WantMatch(t, c.Must(t, "config", "view", "--minify"), `^    namespace: `+k.Namespace+`$`, `^current-context: here$`, `client-certificate-data: DATA\+OMITTED`)
	kit.WantMatch(t, c.Must(t, "config", "view", "--raw", "--flatten"), `^    client-key-data: \S{40}`)
	c.Want(t, `User "mallory" set.`, "config", "set-credentials", "mallory", "--token=rubbish")
	kit.WantMatch(t, c.Fail(t, "get", "pods", "--user=mallory"), `You must be logged in to the server \(Unauthorized\)`)
	c.Want(t, `Context "here" renamed to "there".`, "config", "rename-context", "here", "there")
	c.Want(t, "deleted context there from "+file, "config", "delete-context", "there")
	kit.WantMatch(t, c.Fail(t, "config", "use-context", "there"), `no context exists with the name: "there"`)
}

func TestClusterInfo(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	kit.WantMatch(t, k.Must(t, "cluster-info"), `Kubernetes control plane.* is running at .*https://`+l.Node(t, "server1").Address+`:6443`)
	k.In(configMap).Must(t, "apply", "-f", "-")
	k.Must(t, "run", "said", "--image=busybox", "--restart=Never", "--", "echo", "last words")
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/said", "--timeout=30s")
	dir := t.TempDir()
	kit.WantMatch(t, k.Must(t, "cluster-info", "dump", "--namespaces="+k.Namespace, "--output-directory="+dir), `^Cluster info dumped to `)
	for file, want := range map[string]string{"nodes.json": `"kind": "NodeList"`, k.Namespace + "/pods.json": `"name": "said"`, k.Namespace + "/said/logs.txt": "last words", k.Namespace + "/events.json": `"reason": "Scheduled"`} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v: no %q in\n%s", file, err, want, b)
		}
	}
}

func TestDiscoveryCommands(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kit.WantMatch(t, k.Must(t, "api-resources", "-o", "wide"), `^NAME +SHORTNAMES +APIVERSION +NAMESPACED +KIND +VERBS +CATEGORIES$`,
		`^pods +po +v1 +true +Pod +create,delete,deletecollection,get,list,patch,update,watch +all$`,
		`^namespaces +ns +v1 +false +Namespace +create,delete,get,list,patch,update,watch *$`,
		`^selfsubjectaccessreviews +authorization.k8s.io/v1 +false +SelfSubjectAccessReview +create *$`,
		`^horizontalpodautoscalers +hpa +autoscaling/v2 +true `, `^certificatesigningrequests +csr `, `^persistentvolumeclaims +pvc `)
	k.Want(t, "controllerrevisions.apps\ndaemonsets.apps\ndeployments.apps\nreplicasets.apps\nstatefulsets.apps", "api-resources", "--api-group=apps", "-o", "name")
	k.Want(t, "pods\nreplicationcontrollers\nservices\ndaemonsets.apps\ndeployments.apps\nreplicasets.apps\nstatefulsets.apps\nhorizontalpodautoscalers.autoscaling\ncronjobs.batch\njobs.batch",
		"api-resources", "--categories=all", "-o", "name")
	for _, version := range []string{"autoscaling/v1", "autoscaling/v2", "batch/v1", "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1"} {
		kit.WantMatch(t, k.Must(t, "api-versions"), `^`+version+`$`)
	}
	kit.WantMatch(t, k.Must(t, "version", "-o", "json"), `"serverVersion": \{\n +"major": "1",\n +"minor": "37",`)
	k.Want(t, "ok", "get", "--raw", "/healthz")
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/readyz?verbose"), `^\[\+\]ping ok$`, `^readyz check passed$`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/"), `^    "/apis/apps/v1",$`)
	kit.WantMatch(t, k.Fail(t, "get", "--raw", "/nothing"), `^Error from server \(NotFound\): the server could not find the requested resource$`)
	kit.WantMatch(t, k.Must(t, "options"), `--as-group`)
}
