package kubectltest

import (
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// The API passes requests on to pods, services and nodes, over the connections that the agents keep to the servers.
func TestAPIProxies(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--port=8080", "--replicas=2")
	k.Must(t, "rollout", "status", "deployment/web", "--timeout=60s")
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080", "--name=front")
	name := k.Must(t, "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
	raw := func(kind, name, path string) string {
		return "/api/v1/namespaces/" + k.Namespace + "/" + kind + "/" + name + "/proxy/" + path
	}
	kit.WantMatch(t, k.Must(t, "get", "--raw", raw("pods", name+":8080", "a/b?c=d")), `"request": "GET /a/b\?c=d HTTP/1.1"`, `"pod": "`+name+`"`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", raw("pods", name, "healthz")), `ok`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", raw("services", "front", "x")), `"request": "GET /x HTTP/1.1"`, `"pod": "web-`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", raw("services", "http:front:80", "")), `"request": "GET / HTTP/1.1"`)
	kit.WantMatch(t, k.Fail(t, "get", "--raw", raw("services", "front:81", "")), `no service port "81" found for service "front"`)
	kit.WantMatch(t, k.Fail(t, "get", "--raw", raw("pods", name+":9", "")), `connection refused`)
	kit.WantMatch(t, k.Fail(t, "get", "--raw", raw("pods", "ftp:"+name+":9", "")), `invalid name`)
	kit.WantMatch(t, k.Must(t, "create", "--raw", raw("pods", name+":8080", "posted"), "-f", "/dev/null"), `"request": "POST /posted`)
	if out := k.Must(t, "get", "--raw", "/api/v1/nodes/client1/proxy/healthz"); out != "ok" {
		t.Errorf("the node's handler says %q", out)
	}
}
