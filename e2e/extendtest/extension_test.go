package extendtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// program builds the extension server, linked as pods need it.
func program(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(kit.Root(), "bin", "extension")
	cmd := exec.Command("go", "build", "-tags", "netgo,osusergo,seccomp", "-ldflags", "-s -w -linkmode external -extldflags -static", "-o", dir+"/", "./extension")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the extension server: %v\n%s", err, out)
	}
	return dir
}

// certificate is one for the name of a service, which vouches for itself: both PEM.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// extension starts the extension server behind the service "shop" of the test's namespace and gives the base64 of who vouches for it.
func extension(t *testing.T, l *kit.Lab, k kit.Kubectl) (bundle string) {
	t.Helper()
	cert, key := certificate(t, "shop."+k.Namespace+".svc")
	bundle = base64.StdEncoding.EncodeToString(cert)
	l.Kubectl("").In(strings.NewReplacer("NAMESPACE", k.Namespace, "PROGRAM", program(t), "CERT", bundle, "KEY", base64.StdEncoding.EncodeToString(key)).Replace(`
apiVersion: v1
kind: Secret
metadata: {namespace: NAMESPACE, name: shop}
type: kubernetes.io/tls
data: {tls.crt: CERT, tls.key: KEY}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, namespace: NAMESPACE, name: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: kube-system, name: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, namespace: NAMESPACE, name: default}]
---
apiVersion: v1
kind: Service
metadata: {namespace: NAMESPACE, name: shop}
spec:
  selector: {app: shop}
  ports: [{name: api, port: 443, targetPort: 8443}, {name: hooks, port: 9443}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: NAMESPACE, name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: shop
        image: peapod/demo
        command: [/program/extension]
        readinessProbe: {httpGet: {scheme: HTTPS, port: 8443, path: /readyz}, periodSeconds: 1}
        volumeMounts: [{name: program, mountPath: /program}, {name: cert, mountPath: /cert}]
      volumes:
      - {name: program, hostPath: {path: PROGRAM}}
      - {name: cert, secret: {secretName: shop}}
`)).Must(t, "create", "-f", "-")
	t.Cleanup(func() {
		k.Try("delete", "clusterrolebinding", k.Namespace)
		k.Try("delete", "rolebinding", "-n", "kube-system", k.Namespace)
	})
	return bundle
}

// TestExtensionServer has an API server and webhooks of somebody else's in a pod.
func TestExtensionServer(t *testing.T) {
	l, k := space(t)
	apiService := `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.shop.example}
spec: {group: shop.example, version: v1, groupPriorityMinimum: 2000, versionPriority: 15, service: {namespace: ` + k.Namespace + `, name: shop}, caBundle: CERT}
`
	k.In(strings.Replace(apiService, "CERT", "", 1)).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Try("delete", "apiservice", "v1.shop.example") })
	k.Becomes(t, limit, "False ServiceNotFound", "get", "apiservice", "v1.shop.example", "-o", `jsonpath={.status.conditions[0].status} {.status.conditions[0].reason}`)
	kit.WantMatch(t, k.Fail(t, "get", "--raw", "/apis/shop.example/v1"), `not available: ServiceNotFound`)
	bundle := extension(t, l, k)
	k.Must(t, "rollout", "status", "deployment/shop", "--timeout=90s")
	k.Becomes(t, limit, "FailedDiscoveryCheck", "get", "apiservice", "v1.shop.example", "-o", `jsonpath={.status.conditions[0].reason}`)
	k.In(strings.Replace(apiService, "CERT", bundle, 1)).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Available", "apiservice/v1.shop.example", "--timeout=60s")
	t.Run("Resources", func(t *testing.T) { useOrders(t, l, k) })
	t.Run("Users", func(t *testing.T) { orderAsOthers(t, k) })
	t.Run("Conversion", func(t *testing.T) { convertByWebhook(t, k, bundle) })
	t.Run("Admission", func(t *testing.T) { admitByWebhooks(t, k, bundle) })
	t.Run("Connect", func(t *testing.T) { admitConnections(t, k, bundle) })
	t.Run("Loss", func(t *testing.T) { loseExtension(t, k) })
}

func order(name, spec string) string {
	return fmt.Sprintf("apiVersion: shop.example/v1\nkind: Order\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

// useOrders does with the resources of the extension server what people do with those of the cluster.
func useOrders(t *testing.T, l *kit.Lab, k kit.Kubectl) {
	kit.Eventually(t, limit, "the kind is known", func() error { return k.In(order("tea", "item: tea, count: 2")).Try("create", "-f", "-").Failure() })
	kit.WantMatch(t, k.Must(t, "get", "apiservices"), `^v1.shop.example +`+k.Namespace+`/shop +True `, `^v1.apps +Local +True `)
	kit.WantMatch(t, k.Must(t, "api-resources", "--api-group=shop.example"), `^orders +shop.example/v1 +true +Order$`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/apis"), `"name":"shop.example"`)
	kit.WantMatch(t, k.Must(t, "explain", "order.spec"), `item\s+<string>`, `The thing that the customer wants`)
	kit.WantMatch(t, k.Must(t, "explain", "order", "--output=plaintext-openapiv2"), `An order is what a customer wants`)
	kit.WantMatch(t, k.Must(t, "get", "orders"), `^NAME +CREATED AT$`, `^tea `)
	k.Must(t, "patch", "order", "tea", "--type=merge", "-p", `{"spec":{"count":3}}`)
	k.Want(t, "3 system:masters", "get", "order", "tea", "-o", "jsonpath={.spec.count} {.spec.of[0]}")
	watched := make(chan kit.Result, 1)
	go func() { watched <- k.Try("wait", "order/tea", "--for=jsonpath={.spec.count}=4", "--timeout=60s") }()
	socket := watchBySocket(t, l.Config(t, "server2"), k.Namespace)
	k.Must(t, "patch", "order", "tea", "--type=merge", "-p", `{"spec":{"count":4}}`)
	if err := (<-watched).Failure(); err != nil {
		t.Error(err)
	}
	if err := socket.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	for seen := ""; !strings.Contains(seen, `"count":4`); {
		if err := websocket.Message.Receive(socket, &seen); err != nil {
			t.Fatalf("the watch over a WebSocket: %v", err)
		}
	}
	k.Must(t, "delete", "order", "tea", "--timeout=60s")
}

// watchBySocket watches orders over an upgraded connection.
func watchBySocket(t *testing.T, c *rest.Config, namespace string) *websocket.Conn {
	t.Helper()
	config, err := rest.TLSConfigFor(c)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"}
	to := strings.Replace(c.Host, "https://", "wss://", 1) + "/apis/shop.example/v1/namespaces/" + namespace + "/orders?watch=true"
	w, err := websocket.NewConfig(to, c.Host)
	if err != nil {
		t.Fatal(err)
	}
	w.TlsConfig = config
	var conn *websocket.Conn
	kit.Eventually(t, limit, "the server knows the service too", func() error {
		conn, err = websocket.DialConfig(w)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}
