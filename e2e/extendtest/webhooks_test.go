package extendtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// orderAsOthers: this server asks whether a user may, and tells the other who it is; the other asks the cluster again.
func orderAsOthers(t *testing.T, k kit.Kubectl) {
	ask := func(args ...string) []string { return append([]string{"--as=jane", "--as-group=buyers"}, args...) }
	kit.WantMatch(t, k.Fail(t, ask("get", "orders")...), `User "jane" cannot list resource "orders" in API group "shop.example"`)
	k.Must(t, "create", "role", "buyer", "--verb=get,list,create", "--resource=orders.shop.example")
	k.Must(t, "create", "rolebinding", "buyers", "--role=buyer", "--group=buyers")
	kit.Eventually(t, limit, "jane may order", func() error { // the other server remembers refusals for a moment
		return k.In(order("coffee", "item: coffee")).Try(ask("create", "-f", "-")...).Failure()
	})
	k.Want(t, `jane ["buyers","system:authenticated"]`, "get", "order", "coffee", "-o", "jsonpath={.spec.by} {.spec.of}")
	kit.WantMatch(t, k.Fail(t, ask("delete", "order", "coffee")...), `User "jane" cannot delete resource "orders"`)
	past := "/api/v1/namespaces/" + k.Namespace + "/services/https:shop:443/proxy/apis/shop.example/v1/namespaces/" + k.Namespace + "/orders"
	kit.WantMatch(t, k.Fail(t, "get", "--raw", past), `User "system:anonymous" cannot list|forbidden`)
}

// convertByWebhook has a kind in two versions between which the pod converts.
func convertByWebhook(t *testing.T, k kit.Kubectl, bundle string) {
	const group = "paint.example"
	version := func(name, storage, spec string) string {
		return fmt.Sprintf("{name: %s, served: true, storage: %s, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%s}}}}}}", name, storage, spec)
	}
	v1, v2 := `color: {type: string}`, `paint: {type: object, properties: {color: {type: string}}}`
	crd := func(storeV1, storeV2 string) string {
		return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: walls.` + group + `}
spec:
  group: ` + group + `
  names: {plural: walls, singular: wall, kind: Wall}
  scope: Namespaced
  versions: [` + version("v1", storeV1, v1) + `, ` + version("v2", storeV2, v2) + `]
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {namespace: ` + k.Namespace + `, name: shop, port: 9443, path: /convert}, caBundle: ` + bundle + `}
`
	}
	k.In(crd("true", "false")).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Try("delete", "crd", "walls."+group, "--wait=false") })
	kit.Eventually(t, limit, "the kind is known", func() error {
		return k.In("apiVersion: "+group+"/v1\nkind: Wall\nmetadata: {name: north}\nspec: {color: white}\n").Try("apply", "-f", "-").Failure()
	})
	kit.Eventually(t, limit, "its second version is known", func() error {
		if r := k.Try("get", "walls.v2."+group, "north", "-o", "jsonpath={.spec.paint.color}"); r.Out != "white" {
			return fmt.Errorf("got %+v", r)
		}
		return nil
	})
	k.In("apiVersion: "+group+"/v2\nkind: Wall\nmetadata: {name: south}\nspec: {paint: {color: red}}\n").Must(t, "apply", "-f", "-")
	k.Becomes(t, limit, "white red", "get", "walls.v1."+group, "-o", "jsonpath={.items[*].spec.color}")
	k.In(crd("false", "true")).Must(t, "apply", "-f", "-")
	k.In("apiVersion: storagemigration.k8s.io/v1\nkind: StorageVersionMigration\nmetadata: {name: walls}\nspec: {resource: {group: "+group+", resource: walls}}\n").Must(t, "create", "-f", "-")
	k.Must(t, "wait", "--for=condition=Succeeded", "storageversionmigration/walls", "--timeout=60s")
	k.Becomes(t, limit, `["v2"]`, "get", "crd", "walls."+group, "-o", "jsonpath={.status.storedVersions}")
	k.Becomes(t, limit, "white red", "get", "walls.v2."+group, "-o", "jsonpath={.items[*].spec.paint.color}")
	k.Must(t, "delete", "storageversionmigration", "walls")
}

// admitConnections has a webhook that refuses connections to pods.
func admitConnections(t *testing.T, k kit.Kubectl, bundle string) {
	k.Must(t, "run", "target", "--image=peapod/demo")
	k.Must(t, "wait", "--for=condition=Ready", "pod/target", "--timeout=60s")
	k.In(strings.NewReplacer("NAMESPACE", k.Namespace, "CERT", bundle).Replace(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAMESPACE}
webhooks:
- name: connect.shop.example
  clientConfig: {service: {namespace: NAMESPACE, name: shop, port: 9443, path: /connect}, caBundle: CERT}
  rules: [{operations: [CONNECT], apiGroups: [''], apiVersions: [v1], resources: [pods/attach, pods/exec, pods/portforward, pods/proxy, services/proxy]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  sideEffects: None
  admissionReviewVersions: [v1]
`)).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Try("delete", "validatingwebhookconfiguration", k.Namespace) })
	const denied = `admission webhook "connect.shop.example" denied the request: CONNECT: `
	pod := "/api/v1/namespaces/" + k.Namespace + "/pods/target"
	for _, c := range []struct {
		what string
		args []string
	}{
		{`PodExecOptions target/exec`, []string{"exec", "target", "--", "forbidden"}},
		{`PodAttachOptions target/attach`, []string{"attach", "target"}},
		{`PodPortForwardOptions target/portforward`, []string{"port-forward", "target", "0:8080"}},
		{`PodProxyOptions target/proxy`, []string{"get", "--raw", pod + "/proxy/"}},
		{`ServiceProxyOptions shop:9443/proxy`, []string{"get", "--raw", "/api/v1/namespaces/" + k.Namespace + "/services/shop:9443/proxy/"}},
	} {
		kit.WantMatch(t, k.Fail(t, c.args...), denied+c.what)
	}
	k.Want(t, "fine\n", "exec", "target", "--", "echo", "fine")
	k.Must(t, "delete", "validatingwebhookconfiguration", k.Namespace)
}

// loseExtension: without its pod the group answers 503, and the rest of the API as ever.
func loseExtension(t *testing.T, k kit.Kubectl) {
	k.Must(t, "scale", "deployment", "shop", "--replicas=0")
	k.Becomes(t, limit, "False MissingEndpoints", "get", "apiservice", "v1.shop.example", "-o", `jsonpath={.status.conditions[0].status} {.status.conditions[0].reason}`)
	kit.Eventually(t, limit, "the group is refused", func() error {
		if r := k.Try("get", "--raw", "/apis/shop.example/v1/orders"); !strings.Contains(r.Err, "not available: MissingEndpoints") {
			return fmt.Errorf("got %+v", r)
		}
		return nil
	})
	k.Must(t, "get", "pods")
	k.Must(t, "delete", "apiservice", "v1.shop.example")
	kit.Eventually(t, limit, "the group is gone", func() error {
		if out := k.Must(t, "api-versions"); strings.Contains(out, "shop.example") {
			return fmt.Errorf("still there: %s", out)
		}
		return nil
	})
}
