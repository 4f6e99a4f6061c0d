package kubectltest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const configMap = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {a: b}}
data: {color: blue, size: big}
`

func TestApply(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap).Want(t, "configmap/settings created (server dry run)", "apply", "-f", "-", "--dry-run=server")
	kit.WantMatch(t, k.Fail(t, "get", "cm", "settings"), `\(NotFound\)`)
	k.In(configMap).Want(t, "configmap/settings created", "apply", "-f", "-")
	k.In(configMap).Want(t, "configmap/settings unchanged", "apply", "-f", "-")
	changed := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {a: b}}\ndata: {color: red}\n"
	r := k.In(changed).Try("diff", "-f", "-")
	if r.Code != 1 {
		t.Errorf("diff: %+v", r)
	}
	kit.WantMatch(t, r.Out, `^-  color: blue$`, `^\+  color: red$`, `^-  size: big$`)
	k.In(changed).Want(t, "configmap/settings configured", "apply", "-f", "-")
	k.Want(t, `{"color":"red"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
	if r := k.In(changed).Try("diff", "-f", "-"); r.Code != 0 || r.Out != "" {
		t.Errorf("diff of the same: %+v", r)
	}
	k.In(changed).Want(t, `configmap "settings" deleted from `+k.Namespace+` namespace`, "delete", "-f", "-")
}

func TestServerSideApply(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap).Want(t, "configmap/settings serverside-applied", "apply", "--server-side", "--field-manager=one", "-f", "-")
	other := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: red}\n"
	kit.WantMatch(t, k.In(other).Fail(t, "apply", "--server-side", "--field-manager=two", "-f", "-"),
		`^error: Apply failed with 1 conflict: conflict with "one": .data.color$`)
	k.In(other).Want(t, "configmap/settings serverside-applied", "apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-")
	k.Want(t, `{"color":"red","size":"big"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
	kit.WantMatch(t, k.Must(t, "get", "cm", "settings", "-o", "yaml", "--show-managed-fields"), `manager: one`, `manager: two`, `operation: Apply`)
	// What a manager no longer names goes, if nobody else has it.
	k.In("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n").Must(t, "apply", "--server-side", "--field-manager=one", "-f", "-")
	k.Want(t, `{"color":"red"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
}

func TestPatch(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "1")
	k.Want(t, "deployment.apps/web patched", "patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"demo","env":[{"name":"A","value":"1"}]}]}}}}`)
	k.Want(t, "peapod/demo 1", "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].value}")
	k.Want(t, "deployment.apps/web patched", "patch", "deploy", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":2}]`)
	k.Want(t, "deployment.apps/web patched", "patch", "deploy", "web", "--type=merge", "-p", `{"metadata":{"labels":{"x":"y","app":null}}}`)
	k.Want(t, `2 {"x":"y"}`, "get", "deploy", "web", "-o", "jsonpath={.spec.replicas} {.metadata.labels}")
	k.Want(t, "deployment.apps/web patched (no change)", "patch", "deploy", "web", "--type=merge", "-p", `{"spec":{"replicas":2}}`)
	kit.WantMatch(t, k.Fail(t, "patch", "deploy", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/nothing/x","value":2}]`), `the server rejected our request due to an error in our request|doc is missing path|nonexistent`)
	k.Want(t, "scale.autoscaling/web patched", "patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", `{"spec":{"replicas":1}}`)
	k.Want(t, "1", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")
}

func TestEdit(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap).Must(t, "apply", "-f", "-")
	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/color: blue/color: green/' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	k.With("KUBE_EDITOR="+editor).Want(t, "configmap/settings edited", "edit", "cm", "settings")
	k.Want(t, "green", "get", "cm", "settings", "-o", "jsonpath={.data.color}")
	if r := k.With("KUBE_EDITOR=true").Try("edit", "cm", "settings"); r.Code != 0 || r.Out+r.Err != "Edit cancelled, no changes made.\n" {
		t.Errorf("%+v", r)
	}
}

func TestLabelAnnotateWait(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Want(t, "pod/one created", "run", "one", "--image=peapod/demo")
	k.Want(t, "pod/one condition met", "wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
	k.Want(t, "pod/one labeled", "label", "pod", "one", "app=v1")
	kit.WantMatch(t, k.Must(t, "get", "pods", "-l", "app=v1"), `^one `)
	kit.WantMatch(t, k.Fail(t, "label", "pod", "one", "app=v2"), `'app' already has a value \(v1\), and --overwrite is false`)
	k.Want(t, "pod/one labeled", "label", "pod", "one", "app=v2", "--overwrite")
	k.Want(t, "pod/one unlabeled", "label", "pod", "one", "app-")
	k.Want(t, "pod/one annotated", "annotate", "pod", "one", "note=hello there")
	k.Want(t, "hello there", "get", "pod", "one", "-o", "jsonpath={.metadata.annotations.note}")
	k.Want(t, "pod/one condition met", "wait", "--for=jsonpath={.status.phase}=Running", "pod/one", "--timeout=5s")
	kit.WantMatch(t, k.Fail(t, "wait", "--for=condition=Nothing", "pod/one", "--timeout=1s"), `^error: timed out waiting for the condition on pods/one$`)
	k.Must(t, "delete", "pod", "one", "--wait=false")
	k.Must(t, "wait", "--for=delete", "pod/one", "--timeout=45s")
	_ = l
}

func TestBootcamp(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Must(t, "create", "deployment", "kubernetes-bootcamp", "--image=jocatalin/kubernetes-bootcamp:v1")
	k.Want(t, "deployment.apps/kubernetes-bootcamp scaled", "scale", "deployments/kubernetes-bootcamp", "--replicas=4")
	l.ReadyPods(t, k.Namespace, "app=kubernetes-bootcamp", 4, limit)
	k.Want(t, "service/kubernetes-bootcamp exposed", "expose", "deployment/kubernetes-bootcamp", "--type=NodePort", "--port=8080")
	port := k.Must(t, "get", "svc", "kubernetes-bootcamp", "-o", "jsonpath={.spec.ports[0].nodePort}")
	onEveryNode(t, l, "http://"+l.Node(t, "client1").Address+":"+port, "v=1")
	k.Want(t, "deployment.apps/kubernetes-bootcamp image updated", "set", "image", "deployments/kubernetes-bootcamp", "kubernetes-bootcamp=jocatalin/kubernetes-bootcamp:v2")
	kit.WantMatch(t, k.Must(t, "rollout", "status", "deployments/kubernetes-bootcamp"), `successfully rolled out`)
	onEveryNode(t, l, "http://"+l.Node(t, "client2").Address+":"+port, "v=2")
	k.Must(t, "set", "image", "deployments/kubernetes-bootcamp", "kubernetes-bootcamp=gcr.io/google-samples/kubernetes-bootcamp:v10")
	kit.Eventually(t, limit, "the image cannot be pulled", func() error {
		return kit.Matches(k.Must(t, "get", "pods"), `0/1 +(ErrImagePull|ImagePullBackOff) +0 `)
	})
	kit.WantMatch(t, k.Must(t, "get", "deploy"), `^kubernetes-bootcamp +3/4 +2 +3 `)
	k.Want(t, "deployment.apps/kubernetes-bootcamp rolled back", "rollout", "undo", "deployments/kubernetes-bootcamp")
	k.Must(t, "rollout", "status", "deployments/kubernetes-bootcamp")
	onEveryNode(t, l, "http://"+l.Node(t, "client3").Address+":"+port, "v=2")
	k.Must(t, "create", "deployment", "hello-node", "--image=k8s.gcr.io/echoserver:1.4")
	l.ReadyPods(t, k.Namespace, "app=hello-node", 1, limit)
	k.Want(t, "service/hello-node exposed", "expose", "deployment", "hello-node", "--type=LoadBalancer", "--port=8080")
}
