package kubectltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func TestAutoscale(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(deployment("web", 0, "")).Must(t, "apply", "-f", "-")
	k.Want(t, "horizontalpodautoscaler.autoscaling/web autoscaled", "autoscale", "deploy", "web", "--min=2", "--max=5", "--cpu=80%")
	k.Want(t, "horizontalpodautoscaler.autoscaling/both autoscaled", "autoscale", "deploy", "web", "--name=both", "--max=3", "--cpu=500m", "--memory=100Mi")
	kit.WantMatch(t, k.Must(t, "get", "hpa"), `^both +Deployment/web +cpu: <unknown>/500m, memory: <unknown>/100Mi +1 +3 +0 +`, `^web +Deployment/web +cpu: <unknown>/80% +2 +5 +0 +`)
	k.Want(t, "autoscaling/v1 80", "get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "jsonpath={.apiVersion} {.spec.targetCPUUtilizationPercentage}")
	kit.WantMatch(t, k.Fail(t, "autoscale", "deploy", "web", "--max=5", "--cpu=80%"), `horizontalpodautoscalers.autoscaling "web" already exists$`)
	kit.WantMatch(t, k.Fail(t, "autoscale", "deploy", "web", "--name=x", "--min=5", "--max=2"), `--max=MAXPODS must be larger or equal to --min=MINPODS`)
}

func TestSet(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(deployment("web", 0, "")).Must(t, "apply", "-f", "-")
	k.Must(t, "create", "cm", "conf", "--from-literal=K=v")
	k.Must(t, "create", "sa", "robot")
	k.Want(t, "deployment.apps/web image updated", "set", "image", "deploy", "--all", "*=peapod/demo:latest")
	k.Want(t, "deployment.apps/web env updated", "set", "env", "deploy/web", "A=1", "V-")
	k.Want(t, "deployment.apps/web env updated", "set", "env", "deploy/web", "--from=configmap/conf", "--prefix=P_", "--containers=demo")
	k.Want(t, "# Deployment web, container demo\nA=1\nP_K=v", "set", "env", "deploy/web", "--list", "--resolve")
	k.Want(t, "deployment.apps/web resource requirements updated", "set", "resources", "deploy/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=10m")
	k.Want(t, "deployment.apps/web serviceaccount updated", "set", "serviceaccount", "deploy/web", "robot")
	k.Want(t, `peapod/demo:latest robot {"limits":{"cpu":"200m","memory":"64Mi"},"requests":{"cpu":"10m"}}`, "get", "deploy", "web", "-o",
		"jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.serviceAccountName} {.spec.template.spec.containers[0].resources}")
	k.Must(t, "expose", "deploy", "web", "--port=80")
	k.Want(t, "service/web selector updated", "set", "selector", "svc", "web", "app=other,tier=x")
	k.Want(t, `{"app":"other","tier":"x"}`, "get", "svc", "web", "-o", "jsonpath={.spec.selector}")
	k.Must(t, "create", "role", "r", "--verb=get", "--resource=pods")
	k.Must(t, "create", "rolebinding", "rb", "--role=r", "--user=a")
	k.Want(t, "rolebinding.rbac.authorization.k8s.io/rb subjects updated", "set", "subject", "rolebinding", "rb", "--user=b", "--group=g", "--serviceaccount="+k.Namespace+":robot")
	kit.WantMatch(t, k.Must(t, "get", "rolebinding", "rb", "-o", "wide"), `^rb +Role/r +\S+ +a, b +g +`+k.Namespace+`/robot$`)
	kit.WantMatch(t, k.Fail(t, "set", "image", "deploy/web", "nope=x"), `^error: unable to find container named "nope"$`)
	kit.WantMatch(t, k.Fail(t, "set", "resources", "deploy/web", "--requests=cpu=2"), `^error: failed to patch resources update to pod template Deployment.apps "web" is invalid: spec.template.spec.containers\[0\].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 200m$`)
}

func TestRolloutForms(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(deployment("web", 1, "")).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	k.Must(t, "annotate", "deploy", "web", "kubernetes.io/change-cause=the beginning")
	k.Want(t, "deployment.apps/web restarted", "rollout", "restart", "deploy", "-l", "app!=x")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s", "--revision=2")
	kit.WantMatch(t, k.Must(t, "get", "pods", "-o", `jsonpath={.items[*].metadata.annotations.kubectl\.kubernetes\.io/restartedAt}`), `\d{4}-\d\d-\d\dT`)
	k.Must(t, "annotate", "deploy", "web", "--overwrite", "kubernetes.io/change-cause=a restart")
	kit.Eventually(t, limit, "the causes of changes", func() error {
		return kit.Matches(k.Must(t, "rollout", "history", "deploy/web"), `^1 +the beginning\n2 +a restart$`)
	})
	kit.WantMatch(t, k.Must(t, "rollout", "history", "deploy/web", "--revision=2", "-o", "yaml"), `^kind: ReplicaSet$`)
	kit.WantMatch(t, k.Must(t, "rollout", "undo", "deploy/web", "--dry-run=client"), `^deployment.apps/web Pod Template:$`, `Image:\s+peapod/demo$`)
	k.Want(t, "deployment.apps/web rolled back (server dry run)", "rollout", "undo", "deploy/web", "--dry-run=server")
	kit.WantMatch(t, k.Must(t, "rollout", "history", "deploy/web"), `^1 +the beginning$`)
	k.Want(t, "deployment.apps/web paused", "rollout", "pause", "deploy/web")
	for verb, want := range map[string]string{"pause": "is already paused", "restart": `can't restart paused deployment \(run rollout resume first\)`} {
		kit.WantMatch(t, k.Fail(t, "rollout", verb, "deploy/web"), `^error: deployments.apps "web" `+want+`$`)
	}
	k.Must(t, "rollout", "resume", "deploy/web")
	kit.WantMatch(t, k.Fail(t, "rollout", "resume", "deploy/web"), `^error: deployments.apps "web" is not paused$`)
	kit.WantMatch(t, k.Fail(t, "rollout", "history", "deploy/none"), `^Error from server \(NotFound\): deployments.apps "none" not found$`)
	l.ReadyPods(t, k.Namespace, "app=web", 1, limit)
}

func TestScaleForms(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(deployment("one", 1, "")+"---\n"+deployment("two", 1, "")).Must(t, "apply", "-f", "-")
	k.Want(t, "deployment.apps/one scaled\ndeployment.apps/two scaled", "scale", "deploy", "--all", "--replicas=2", "--timeout=30s")
	l.ReadyPods(t, k.Namespace, "", 4, limit)
	kit.WantMatch(t, k.Fail(t, "scale", "deploy/one", "--replicas=0", "--resource-version=1"), `^error: Expected resource version to be 1, was \d+$`)
	k.Want(t, "deployment.apps/two scaled", "scale", "--current-replicas=2", "--replicas=0", "-f", oneFile(t, deployment("two", 9, "")))
	k.Want(t, "2 0", "get", "deploy", "one", "two", "-o", "jsonpath={.items[*].spec.replicas}")
}

func TestLabelAnnotateForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap+"---\n"+strings.Replace(configMap, "settings", "others", 1)).Must(t, "apply", "-f", "-")
	k.Want(t, "configmap/others labeled\nconfigmap/settings labeled", "label", "cm", "-l", "a=b", "x=y", "z=")
	kit.WantMatch(t, k.Must(t, "label", "cm", "settings", "--list"), `^a=b$`, `^x=y$`, `^z=$`)
	k.Want(t, "configmap/settings not labeled", "label", "cm", "settings", "x=y")
	kit.WantMatch(t, k.Fail(t, "label", "cm", "settings", "x-", "--resource-version=1"), `^Error from server \(Conflict\): Operation cannot be fulfilled on configmaps "settings": the object has been modified; please apply your changes to the latest version and try again$`)
	kit.WantMatch(t, k.Fail(t, "label", "cm", "settings", "bad label=x"), `^The ConfigMap "settings" is invalid: metadata.labels: Invalid value: "bad label": name part must consist of alphanumeric characters`)
	k.Want(t, "configmap/settings labeled", "label", "-f", oneFile(t, configMap), "q=r", "--field-manager=me")
	kit.WantMatch(t, k.Must(t, "get", "cm", "settings", "-o", "yaml", "--show-managed-fields"), `^    manager: me$`)
	k.Want(t, "configmap/settings annotate", "annotate", "cm", "settings", "note=1", "--dry-run=server", "-o", `go-template={{if eq .metadata.annotations.note "1"}}configmap/settings annotate{{end}}`)
	k.Want(t, "configmap/settings annotated", "annotate", "cm", "settings", "note=1")
	kit.WantMatch(t, k.Fail(t, "annotate", "cm", "settings", "note=2"), `^error: --overwrite is false but found the following declared annotation\(s\): 'note' already has a value \(1\)$`)
	k.Want(t, "configmap/settings annotated", "annotate", "cm", "settings", "note-")
	if out := k.Must(t, "annotate", "cm", "settings", "--list"); strings.Contains(out, "note") {
		t.Errorf("an annotation is still there: %s", out)
	}
}

func TestPatchForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap).Must(t, "apply", "-f", "-")
	kit.WantMatch(t, k.Fail(t, "patch", "cm", "settings", "--type=json", "-p", `[{"op":"test","path":"/data/color","value":"red"}]`), `^The request is invalid: the server rejected our request due to an error in our request$`)
	k.Want(t, "configmap/settings", "patch", "cm", "settings", "--type=merge", "-p", `{"data":{"size":null}}`, "-o", "name")
	k.Want(t, "configmap/settings patched", "patch", "cm", "settings", "--type=strategic", "--patch-file", oneFile(t, "data: {color: red}"))
	k.Want(t, `{"color":"red"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
	kit.WantMatch(t, k.Must(t, "patch", "-f", oneFile(t, configMap), "-p", `{"data":{"z":"y"}}`, "--local", "-o", "yaml"), `^  z: "y"$`)
	kit.WantMatch(t, k.Fail(t, "patch", "cm", "settings", "-p", `{"data":{"z":1}}`), `^The request is invalid: patch: Invalid value: "map\[data:map\[z:1\]\]": cannot convert int64 to string$`)
	kit.WantMatch(t, k.Fail(t, "patch", "cm", "settings", "--type=merge", "-p", `{"metadata":{"name":"other"}}`), `the name of the object \(other\) does not match the name on the URL \(settings\)`)
	// A list of a type's own merges by key, where a merge patch replaces it.
	k.In(deployment("web", 0, "")).Must(t, "apply", "-f", "-")
	k.Must(t, "patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"second","image":"busybox"}]}}}}`)
	k.Want(t, "second demo", "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}")
	k.Must(t, "patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"demo","$patch":"delete"}]}}}}`)
	k.Want(t, "second", "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}")
}

// TestDrain takes nodes out of service. It runs alone.
func TestDrain(t *testing.T) {
	_, k := space(t)
	onNode := func(name, extra string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {drained: 'yes'}}\nspec: {nodeName: client3, terminationGracePeriodSeconds: 1%s, containers: [{name: c, image: peapod/demo}]}\n---\n", name, extra)
	}
	k.In(onNode("bare", "")+onNode("full", ", volumes: [{name: v, emptyDir: {}}]")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
	defer k.Must(t, "uncordon", "client3")
	refused := k.Fail(t, "drain", "client3", "--pod-selector=drained")
	kit.WantMatch(t, refused, `cannot delete Pods that declare no controller \(use --force to override\): `+k.Namespace+`/bare`, `cannot delete Pods with local storage \(use --delete-emptydir-data to override\): `+k.Namespace+`/full`)
	kit.WantMatch(t, k.Must(t, "get", "node", "client3"), `^client3 +Ready,SchedulingDisabled `)
	kit.WantMatch(t, k.Must(t, "describe", "node", "client3"), `^Taints: +node.kubernetes.io/unschedulable:NoSchedule$`, `^Unschedulable: +true$`)
	forced := []string{"drain", "client3", "--pod-selector=drained", "--force", "--delete-emptydir-data"}
	kit.WantMatch(t, k.Must(t, append(forced, "--dry-run=server")...), `^node/client3 already cordoned \(server dry run\)$`, `^evicting pod `+k.Namespace+`/bare \(server dry run\)$`, `^node/client3 drained \(server dry run\)$`)
	k.Want(t, "pod/bare\npod/full", "get", "pods", "-o", "name")
	k.Must(t, "label", "pod", "full", "drained-")
	kit.WantMatch(t, k.Must(t, append(forced, "--timeout=30s")...), `^evicting pod `+k.Namespace+`/bare$|^pod/bare evicted$`, `^pod/bare evicted$`, `^node/client3 drained$`)
	k.Want(t, "pod/full", "get", "pods", "-o", "name")
	k.Must(t, "label", "pod", "full", "drained=yes")
	kit.WantMatch(t, k.Must(t, append(forced, "--disable-eviction", "--grace-period=0", "--timeout=30s")...), `^pod/full deleted$`, `^node/client3 drained$`)
	k.Want(t, "node/client3 uncordoned", "uncordon", "client3")
	k.Want(t, "node/client3 already uncordoned", "uncordon", "client3")
	k.Want(t, "node/client3 cordoned (server dry run)", "cordon", "-l", "kubernetes.io/hostname=client3", "--dry-run=server")
	kit.WantMatch(t, k.Must(t, "get", "node", "client3"), `^client3 +Ready `)
}

// TestTaint runs alone: pods leave a node.
func TestTaint(t *testing.T) {
	_, k := space(t)
	defer k.Try("taint", "node", "client3", "e2e-") // only if the test fails is there something to take away
	k.Want(t, "node/client3 tainted", "taint", "node", "client3", "e2e=a:NoSchedule")
	kit.WantMatch(t, k.Fail(t, "taint", "node", "client3", "e2e=a:NoSchedule"), `^error: node client3 already has e2e taint\(s\) with same effect\(s\) and --overwrite is false$`)
	k.Want(t, "node/client3 modified", "taint", "node", "client3", "e2e=b:NoSchedule", "--overwrite")
	kit.WantMatch(t, k.Must(t, "describe", "node", "client3"), `^Taints: +e2e=b:NoSchedule$`)
	kit.WantMatch(t, k.Fail(t, "taint", "node", "client3", "e2e=b:Sometimes"), `^error: invalid taint effect: Sometimes, unsupported taint effect$`)
	k.In("apiVersion: v1\nkind: Pod\nmetadata: {name: stays}\nspec: {nodeName: client3, terminationGracePeriodSeconds: 1, tolerations: [{key: e2e, operator: Exists}], containers: [{name: c, image: peapod/demo}]}\n---\n"+
		"apiVersion: v1\nkind: Pod\nmetadata: {name: goes}\nspec: {nodeName: client3, terminationGracePeriodSeconds: 1, containers: [{name: c, image: peapod/demo}]}\n").Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/stays", "pod/goes", "--timeout=30s")
	k.Want(t, "node/client3 tainted", "taint", "nodes", "-l", "kubernetes.io/hostname=client3", "e2e:NoExecute")
	k.Must(t, "wait", "--for=delete", "pod/goes", "--timeout=30s")
	k.Want(t, "pod/stays", "get", "pods", "-o", "name")
	k.Want(t, "node/client3 untainted", "taint", "node", "client3", "e2e:NoExecute-")
	k.Want(t, "node/client3 untainted", "taint", "node", "client3", "e2e-")
	kit.WantMatch(t, k.Fail(t, "taint", "node", "client3", "e2e-"), `^error: taint "e2e" not found$`)
}
