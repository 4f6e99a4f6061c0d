package kubectltest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func manifest(name string) string {
	return filepath.Join(kit.Root(), "e2e", "testdata", "manifests", name)
}

// onEveryNode asks a URL from every machine that runs pods, and from the host if it can know the address.
func onEveryNode(t *testing.T, l *kit.Lab, url, want string) {
	t.Helper()
	at := map[string]string{"the host": ""}
	for _, n := range l.Nodes {
		if n.Role == "client" {
			at[n.Name] = n.Namespace
		}
	}
	for name, ns := range at {
		if name == "the host" && !strings.Contains(url, "://10.201.") {
			continue // the host is no part of the cluster's network
		}
		kit.Eventually(t, limit, "asking from "+name, func() error {
			out, err := kit.Curl(ns, url)
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("%s answered %q", url, out)
			}
			return err
		})
	}
}

func TestNginxPod(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Want(t, "pod/nginx created", "apply", "-f", manifest("nginx-pod.yml"))
	p := l.ReadyPods(t, k.Namespace, "app=nginx", 1, limit)[0]
	kit.WantMatch(t, k.Must(t, "get", "pods", "-o", "wide"),
		`^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$`,
		`^nginx +1/1 +Running +0 +\d+s +`+p.Status.PodIP+` +`+p.Spec.NodeName+` +<none> +<none>$`)
	onEveryNode(t, l, "http://"+p.Status.PodIP, "Welcome to nginx!")
	k.Want(t, `pod "nginx" deleted from `+k.Namespace+` namespace`, "delete", "pod", "nginx")
	if e := k.Fail(t, "get", "pod", "nginx"); e != "Error from server (NotFound): pods \"nginx\" not found\n" {
		t.Errorf("%q", e)
	}
}

func TestNginxDeployment(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Want(t, "deployment.apps/nginx-deployment created", "apply", "-f", manifest("nginx-deployment.yml"))
	pods := l.ReadyPods(t, k.Namespace, "app=nginx", 2, limit)
	kit.WantMatch(t, k.Must(t, "get", "deploy,rs", "-o", "wide"),
		`^NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR$`,
		`^deployment.apps/nginx-deployment +2/2 +2 +2 +\d+s +nginx +nginx:1.12 +app=nginx$`,
		`^NAME +DESIRED +CURRENT +READY +AGE +CONTAINERS +IMAGES +SELECTOR$`,
		`^replicaset.apps/nginx-deployment-[0-9a-z]+ +2 +2 +2 +\d+s +nginx +nginx:1.12 +app=nginx,pod-template-hash=`)
	k.Must(t, "delete", "pod", pods[0].Name)
	for _, p := range l.ReadyPods(t, k.Namespace, "app=nginx", 2, limit) {
		if p.Name == pods[0].Name || p.UID == pods[0].UID {
			t.Errorf("%s came back as itself", p.Name)
		}
	}
	k.Want(t, "deployment.apps/nginx-deployment scaled", "scale", "deployment/nginx-deployment", "--replicas=4")
	l.ReadyPods(t, k.Namespace, "app=nginx", 4, limit)
	k.Want(t, "deployment.apps/nginx-deployment image updated", "set", "image", "deployment/nginx-deployment", "nginx=nginx:1.13")
	kit.WantMatch(t, k.Must(t, "rollout", "status", "deployment/nginx-deployment"), `deployment "nginx-deployment" successfully rolled out`)
	for _, p := range l.ReadyPods(t, k.Namespace, "app=nginx", 4, limit) {
		if p.Spec.Containers[0].Image != "nginx:1.13" {
			t.Errorf("%s runs %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	kit.WantMatch(t, k.Must(t, "rollout", "history", "deployment/nginx-deployment"),
		`^deployment.apps/nginx-deployment`, `^REVISION +CHANGE-CAUSE$`, `^1 +<none>$`, `^2 +<none>$`)
	kit.WantMatch(t, k.Must(t, "rollout", "history", "deployment/nginx-deployment", "--revision=1"), `Image:\s+nginx:1.12`)
	k.Want(t, "deployment.apps/nginx-deployment rolled back", "rollout", "undo", "deployment/nginx-deployment")
	k.Must(t, "rollout", "status", "deployment/nginx-deployment")
	for _, p := range l.ReadyPods(t, k.Namespace, "app=nginx", 4, limit) {
		if p.Spec.Containers[0].Image != "nginx:1.12" {
			t.Errorf("%s runs %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	kit.WantMatch(t, k.Must(t, "rollout", "history", "deployment/nginx-deployment"), `^2 +<none>$`, `^3 +<none>$`)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	dir := filepath.Dir(manifest("redis/x"))
	kit.WantMatch(t, k.Must(t, "apply", "-k", dir), `^configmap/example-redis-config-[0-9a-z]+ created$`, `^pod/redis created$`)
	kit.Eventually(t, limit, "redis runs", func() error {
		return kit.Matches(k.Must(t, "get", "-k", dir), `^pod/redis +1/1 +Running`)
	})
	k.Want(t, "maxmemory\n2097152", "exec", "redis", "--", "redis-cli", "CONFIG", "GET", "maxmemory")
	k.Want(t, "maxmemory-policy\nallkeys-lru", "exec", "redis", "--", "redis-cli", "CONFIG", "GET", "maxmemory-policy")
	uid := k.Must(t, "get", "pod", "redis", "-o", "jsonpath={.metadata.uid}")
	node := l.Node(t, k.Must(t, "get", "pod", "redis", "-o", "jsonpath={.spec.nodeName}"))
	wantCgroup(t, node, uid, map[string]string{"cpu.cfs_quota_us|cpu.max": `^10000( 100000)?$`})
}

func TestMicroservices(t *testing.T) {
	// Not parallel: the NodePorts are the cluster's.
	l, k := space(t)
	k.Must(t, "apply", "-f", manifest("microservices.yaml"))
	kit.Eventually(t, limit, "pods wait for their configuration", func() error {
		out := k.Must(t, "get", "pods")
		if err := kit.Matches(out, `^system-deployment-\S+ +0/1 +CreateContainerConfigError +0 `); err != nil {
			return err
		}
		return kit.Matches(out, `^inventory-deployment-\S+ +0/1 +CreateContainerConfigError +0 `)
	})
	k.Want(t, "configmap/sys-app-name created", "create", "configmap", "sys-app-name", "--from-literal", "name=my-system")
	k.Want(t, "secret/sys-app-credentials created", "create", "secret", "generic", "sys-app-credentials",
		"--from-literal", "username=bob", "--from-literal", "password=bobpwd")
	l.ReadyPods(t, k.Namespace, "app=system", 1, limit)
	l.ReadyPods(t, k.Namespace, "app=inventory", 1, limit)
	for _, n := range l.Nodes {
		if n.Role != "client" {
			continue
		}
		onEveryNode(t, l, "http://"+n.Address+":31000", "ok")
		onEveryNode(t, l, "http://"+n.Address+":32000/cgi-bin/env", "SYSTEM_APP_PASSWORD=bobpwd")
		onEveryNode(t, l, "http://"+n.Address+":31000/cgi-bin/env", "APP_NAME=my-system")
	}
	kit.WantMatch(t, k.Must(t, "replace", "--force", "-f", manifest("microservices.yaml")),
		`deployment.apps "system-deployment" deleted`, `^deployment.apps/system-deployment replaced$`, `^service/inventory-service replaced$`)
	l.ReadyPods(t, k.Namespace, "app=inventory", 1, limit)
	onEveryNode(t, l, "http://"+l.Node(t, "client1").Address+":32000/cgi-bin/env", "SYSTEM_APP_USERNAME=bob")
}

func TestLoadBalancerExample(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Must(t, "apply", "-f", manifest("load-balancer-example.yaml"))
	l.ReadyPods(t, k.Namespace, "app.kubernetes.io/name=load-balancer-example", 5, limit)
	k.Want(t, "service/my-service exposed", "expose", "deployment", "hello-world", "--type=LoadBalancer", "--name=my-service", "--port=8080")
	kit.WantMatch(t, k.Must(t, "get", "service", "my-service"), `^my-service +LoadBalancer +\S+ +\S+ +8080:\d+/TCP +\d+s$`)
	ip := k.Must(t, "get", "service", "my-service", "-o", "jsonpath={.spec.clusterIP}")
	kit.Eventually(t, limit, "the service answers", func() error {
		out, err := kit.Curl(l.Node(t, "client2").Namespace, "http://"+ip+":8080")
		if err == nil && out != "Hello Kubernetes!\n" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}
