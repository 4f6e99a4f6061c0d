package kubectltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// TestCreateForms makes an object with every form of kubectl create, and looks at what distinguishes it.
func TestCreateForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	file := filepath.Join(t.TempDir(), "greeting")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	envFile := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(envFile, []byte("# a comment\nA=1\nB=two words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args     []string // after "create"; the last word of the object's name is shown
		said     string
		get      string // what jsonpath of the object
		is, want string
	}{
		{[]string{"configmap", "lit", "--from-literal=a=b", "--from-file=" + file, "--from-file=as=" + file}, "configmap/lit", "cm/lit", "{.data}", `{"a":"b","as":"hello","greeting":"hello"}`},
		{[]string{"configmap", "env", "--from-env-file=" + envFile}, "configmap/env", "cm/env", "{.data}", `{"A":"1","B":"two words"}`},
		{[]string{"secret", "generic", "gen", "--from-literal=a=b", "--type=example.com/x"}, "secret/gen", "secret/gen", "{.type} {.data}", `example.com/x {"a":"Yg=="}`},
		{[]string{"secret", "docker-registry", "reg", "--docker-server=r.example.com", "--docker-username=u", "--docker-password=p"}, "secret/reg", "secret/reg", "{.type}", "kubernetes.io/dockerconfigjson"},
		{[]string{"serviceaccount", "robot"}, "serviceaccount/robot", "sa/robot", "{.metadata.name}", "robot"},
		{[]string{"role", "named", "--verb=get,list", "--resource=pods,deployments.apps/scale", "--resource-name=a"}, "role.rbac.authorization.k8s.io/named", "role/named", "{.rules[*].resources} {.rules[0].resourceNames}", `["pods"] ["deployments/scale"] ["a"]`},
		{[]string{"rolebinding", "bound", "--clusterrole=view", "--user=ann", "--group=g", "--serviceaccount=" + k.Namespace + ":robot"}, "rolebinding.rbac.authorization.k8s.io/bound", "rolebinding/bound", "{.roleRef.kind} {.subjects[*].kind}", "ClusterRole User Group ServiceAccount"},
		{[]string{"quota", "q", "--hard=count/bulbs.example.com=3,requests.storage=1Gi"}, "resourcequota/q", "quota/q", "{.spec.hard}", `{"count/bulbs.example.com":"3","requests.storage":"1Gi"}`},
		{[]string{"quota", "scoped", "--hard=pods=300", "--scopes=BestEffort"}, "resourcequota/scoped", "quota/scoped", "{.spec.scopes}", `["BestEffort"]`},
		{[]string{"poddisruptionbudget", "least", "--selector=app=guarded", "--min-available=1"}, "poddisruptionbudget.policy/least", "pdb/least", "{.spec.minAvailable}", "1"},
		{[]string{"pdb", "most", "--selector=app=guarded", "--max-unavailable=50%"}, "poddisruptionbudget.policy/most", "pdb/most", "{.spec.maxUnavailable}", "50%"},
		{[]string{"deployment", "two", "--image=peapod/demo", "--image=busybox", "--replicas=0"}, "deployment.apps/two", "deploy/two", "{.spec.template.spec.containers[*].name}", "demo busybox"},
		{[]string{"cronjob", "often", "--image=busybox", "--schedule=5 4 * * *", "--", "date"}, "cronjob.batch/often", "cj/often", "{.spec.schedule} {.spec.jobTemplate.spec.template.spec.containers[0].command}", `5 4 * * * ["date"]`},
		{[]string{"job", "now", "--from=cronjob/often"}, "job.batch/now", "job/now", `{.metadata.annotations.cronjob\.kubernetes\.io/instantiate} {.metadata.ownerReferences[0].kind}`, "manual CronJob"},
		{[]string{"ingress", "ing", "--class=none", "--rule=a.example.com/x*=svc:http,tls=cert", "--default-backend=d:80", "--annotation=a=b"}, "ingress.networking.k8s.io/ing", "ing/ing",
			"{.spec.rules[0].http.paths[0].pathType} {.spec.tls[0].secretName} {.spec.rules[0].http.paths[0].backend.service.port.name}", "Prefix cert http"},
		{[]string{"service", "clusterip", "cip", "--tcp=80:8080"}, "service/cip", "svc/cip", "{.spec.type} {.spec.ports[0].targetPort} {.spec.selector.app}", "ClusterIP 8080 cip"},
		{[]string{"service", "clusterip", "headless", "--clusterip=None"}, "service/headless", "svc/headless", "{.spec.clusterIP}", "None"},
		{[]string{"service", "externalname", "ext", "--external-name=example.com"}, "service/ext", "svc/ext", "{.spec.externalName}", "example.com"},
		{[]string{"service", "loadbalancer", "lb", "--tcp=80"}, "service/lb", "svc/lb", "{.spec.type} {.spec.allocateLoadBalancerNodePorts}", "LoadBalancer true"},
		{[]string{"service", "nodeport", "np", "--tcp=80:8080", "--node-port=32111"}, "service/np", "svc/np", "{.spec.ports[0].nodePort}", "32111"},
	} {
		k.Want(t, c.said+" created", append([]string{"create"}, c.args...)...)
		k.Want(t, c.want, "get", c.get, "-o", "jsonpath="+c.is)
	}
	kit.WantMatch(t, k.Fail(t, "create", "service", "nodeport", "again", "--tcp=80", "--node-port=32111"), `spec.ports\[0\].nodePort: Invalid value: 32111: provided port is already allocated$`)
	kit.WantMatch(t, k.Fail(t, "create", "role", "none", "--verb=get", "--resource=nothings"), `the server doesn't have a resource type "nothings"`)
	kit.WantMatch(t, k.Fail(t, "create", "cronjob", "bad", "--image=busybox", "--schedule=never"), `CronJob.batch "bad" is invalid: spec.schedule: Invalid value: "never": expected exactly 5 fields, found 1: \[never\]$`)
	config := k.Must(t, "get", "secret", "reg", "-o", `go-template={{index .data ".dockerconfigjson" | base64decode}}`)
	kit.WantMatch(t, config, `\{"auths":\{"r.example.com":\{"username":"u","password":"p","auth":"dTpw"\}\}\}`)
}

// TestCreateForCluster makes what belongs to no namespace, under names of this test.
func TestCreateForCluster(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Namespace = ""
	for _, c := range []struct {
		args                []string
		said, get, is, want string
	}{
		{[]string{"clusterrole", "cc-rules", "--verb=get", "--resource=pods/log"}, "clusterrole.rbac.authorization.k8s.io/cc-rules", "clusterrole/cc-rules", "{.rules[0].resources}", `["pods/log"]`},
		{[]string{"clusterrole", "cc-urls", "--verb=get", "--non-resource-url=/cc/*"}, "clusterrole.rbac.authorization.k8s.io/cc-urls", "clusterrole/cc-urls", "{.rules[0].nonResourceURLs}", `["/cc/*"]`},
		{[]string{"clusterrole", "cc-sum", "--aggregation-rule=cc=sum"}, "clusterrole.rbac.authorization.k8s.io/cc-sum", "clusterrole/cc-sum", "{.aggregationRule.clusterRoleSelectors[0].matchLabels}", `{"cc":"sum"}`},
		{[]string{"clusterrolebinding", "cc-bound", "--clusterrole=cc-urls", "--user=cc-ann"}, "clusterrolebinding.rbac.authorization.k8s.io/cc-bound", "clusterrolebinding/cc-bound", "{.subjects[0].name}", "cc-ann"},
		{[]string{"priorityclass", "cc-high", "--value=1000", "--description=for tests", "--preemption-policy=Never"}, "priorityclass.scheduling.k8s.io/cc-high", "pc/cc-high", "{.value} {.preemptionPolicy} {.description}", "1000 Never for tests"},
		{[]string{"namespace", "cc-space"}, "namespace/cc-space", "ns/cc-space", "{.status.phase} {.spec.finalizers}", `Active ["kubernetes"]`},
	} {
		k.Want(t, c.said+" created", append([]string{"create"}, c.args...)...)
		t.Cleanup(func() { k.Must(t, "delete", c.get, "--wait=false") })
		k.Want(t, c.want, "get", c.get, "-o", "jsonpath="+c.is)
	}
	kit.Eventually(t, limit, "the rules", func() error {
		return kit.Matches(k.Try("auth", "can-i", "get", "/cc/x", "--as=cc-ann").Out, `^yes$`)
	})
	// The rules of a sum are made from the roles that have the label.
	k.Must(t, "label", "clusterrole", "cc-rules", "cc=sum")
	kit.Eventually(t, limit, "the sum of roles", func() error {
		return kit.Matches(k.Must(t, "get", "clusterrole", "cc-sum", "-o", "jsonpath={.rules[*].resources}"), `^\["pods/log"\]$`)
	})
	kit.WantMatch(t, k.Fail(t, "create", "priorityclass", "cc-too-high", "--value=1000000001"), `value: Forbidden: maximum allowed value of a user defined priority is 1000000000$`)
}

func TestCreateToken(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "create", "sa", "robot")
	k.Must(t, "create", "secret", "generic", "s")
	claims := func(args ...string) (c struct {
		Sub        string
		Aud        any // one may stand alone (RFC 7519, 4.1.3)
		Exp, Iat   int64
		Kubernetes struct {
			Namespace string
			Secret    struct{ Name string }
		} `json:"kubernetes.io"`
	}) {
		token := strings.Split(k.Must(t, append([]string{"create", "token", "robot"}, args...)...), ".")
		if len(token) != 3 {
			t.Fatalf("a token of %d parts", len(token))
		}
		b, err := base64.RawURLEncoding.DecodeString(token[1])
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := claims()
	if c.Sub != "system:serviceaccount:"+k.Namespace+":robot" || c.Exp-c.Iat != 3600 || c.Aud == nil || c.Kubernetes.Namespace != k.Namespace {
		t.Errorf("%+v", c)
	}
	if c := claims("--audience=me", "--audience=you", "--duration=20m", "--bound-object-kind=Secret", "--bound-object-name=s"); fmt.Sprint(c.Aud) != "[me you]" || c.Exp-c.Iat != 1200 || c.Kubernetes.Secret.Name != "s" {
		t.Errorf("%+v", c)
	}
	token := strings.TrimSpace(k.Must(t, "create", "token", "robot"))
	// The administrator's certificate would be stronger than the token.
	anonymous := filepath.Join(t.TempDir(), "kubeconfig")
	server := k.Must(t, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + server + "', insecure-skip-tls-verify: true}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
	if err := os.WriteFile(anonymous, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	kit.WantMatch(t, k.Using(anonymous).Must(t, "--token", token, "auth", "whoami"),
		`^Username +system:serviceaccount:`+k.Namespace+`:robot$`, `^Groups +\[system:serviceaccounts system:serviceaccounts:`+k.Namespace+` system:authenticated\]$`)
	kit.WantMatch(t, k.Using(anonymous).Fail(t, "--token", token, "get", "pods"),
		`^Error from server \(Forbidden\): pods is forbidden: User "system:serviceaccount:`+k.Namespace+`:robot" cannot list resource "pods" in API group "" in the namespace "`+k.Namespace+`"$`)
	kit.WantMatch(t, k.Fail(t, "create", "token", "nobody"), `^error: failed to create token: serviceaccounts "nobody" not found$`)
	kit.WantMatch(t, k.Fail(t, "create", "token", "robot", "--duration=1m"), `spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes$`)
}

func TestCreateTLSSecret(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	k.Want(t, "secret/tls created", "create", "secret", "tls", "tls", "--cert="+write("cert", "CERTIFICATE", der), "--key="+write("key", "PRIVATE KEY", secret))
	kit.WantMatch(t, k.Must(t, "get", "secret", "tls"), `^tls +kubernetes.io/tls +2 +`)
	kit.WantMatch(t, k.Must(t, "describe", "secret", "tls"), `^tls.crt: +\d+ bytes$`, `^tls.key: +\d+ bytes$`)
}
