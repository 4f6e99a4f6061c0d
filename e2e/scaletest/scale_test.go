package scaletest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// web is a Deployment of the embedded image; container and pod are YAML for the container and the pod's spec.
func web(replicas int, container, pod string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
%s
      containers:
      - {name: demo, image: peapod/demo%s}
`, replicas, pod, container)
}

func budget(bound string) string {
	return "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {" + bound + ", selector: {matchLabels: {app: web}}}\n"
}

// fewestReady follows the pods until stop is called, which returns the fewest that were ready at once.
func fewestReady(t *testing.T, l *kit.Lab, namespace string, first []corev1.Pod) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w, err := l.Client(t, "").CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]bool{}
	for _, p := range first {
		ready[p.Name] = true
	}
	fewest := len(first)
	var done sync.WaitGroup
	done.Go(func() {
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok {
				delete(ready, p.Name)
				if e.Type != "DELETED" && p.DeletionTimestamp == nil && kit.PodReady(p) {
					ready[p.Name] = true
				}
				fewest = min(fewest, len(ready))
			}
		}
	})
	return func() int {
		w.Stop()
		done.Wait()
		return fewest
	}
}

// TestDrain: kubectl drain waits for the disruption budget and goes on as pods move, so that never more than one is missing.
func TestDrain(t *testing.T) {
	l, k := space(t)
	k.In(web(4, ", readinessProbe: {httpGet: {path: /, port: 8080}, initialDelaySeconds: 2, periodSeconds: 1}", "")+budget("minAvailable: 3")).Must(t, "apply", "-f", "-")
	pods := l.ReadyPods(t, k.Namespace, "app=web", 4, limit)
	on := map[string]int{}
	for _, p := range pods {
		on[p.Spec.NodeName]++
	}
	node := pods[0].Spec.NodeName
	for n, count := range on {
		if count > on[node] {
			node = n
		}
	}
	if on[node] < 2 {
		t.Fatalf("no node has two of the pods: %v", on)
	}
	t.Cleanup(func() { k.Must(t, "uncordon", node) })
	kit.Eventually(t, limit, "the budget's status", func() error {
		return kit.Matches(k.Must(t, "get", "pdb", "web"), `web +3 +N/A +1 `)
	})
	stop := fewestReady(t, l, k.Namespace, pods)
	r := k.Try("drain", node, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=90s")
	if r.Code != 0 {
		t.Fatalf("exit code %d: %s%s", r.Code, r.Out, r.Err)
	}
	kit.WantMatch(t, r.Out+r.Err, `(?s)error when evicting pods/"web-\S+" -n "\S+" \(will retry after 5s\): Cannot evict pod as it would violate the pod's disruption budget\.`,
		"node/"+node+" drained")
	for _, p := range l.ReadyPods(t, k.Namespace, "app=web", 4, limit) {
		if p.Spec.NodeName == node {
			t.Errorf("pod %s is on the drained node", p.Name)
		}
	}
	if n := stop(); n < 3 {
		t.Errorf("only %d pods were ready", n)
	}
}

// TestEvictionIsRefused until the budget allows it: AP023.
func TestEvictionIsRefused(t *testing.T) {
	l, k := space(t)
	k.In(web(2, "", "")+budget("maxUnavailable: 0")).Must(t, "apply", "-f", "-")
	p := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)[0]
	api := l.Client(t, "").CoreV1().Pods(k.Namespace)
	evict := func() error {
		return api.EvictV1(context.Background(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: k.Namespace}})
	}
	kit.Eventually(t, limit, "the budget to count both pods", func() error { // which it does after the pods are ready
		err := evict()
		cause, _ := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause)
		if !apierrors.IsTooManyRequests(err) || !strings.HasPrefix(cause.Message, "The disruption budget web needs 2 healthy pods and has ") {
			t.Fatal(err, cause)
		}
		if !strings.Contains(cause.Message, "has 2 currently") {
			return errors.New(cause.Message)
		}
		return nil
	})
	k.Must(t, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"maxUnavailable":1}}`)
	kit.Eventually(t, limit, "the eviction", evict)
	kit.Eventually(t, limit, "the pod's end", func() error {
		got, err := api.Get(context.Background(), p.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && got.UID != p.UID {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
}

func barePod(name, node, tolerations string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: bare}}\nspec:\n  nodeName: %s\n  terminationGracePeriodSeconds: 1\n"+
		"  containers: [{name: c, image: peapod/demo}]\n  tolerations: [%s]\n", name, node, tolerations)
}

// TestNoExecuteTaint evicts pods when their time is up, each its own, and lets those stay that tolerate it or whose time is not up
// when the taint goes (conformance: NoExecuteTaintManager, single and multiple pods).
func TestNoExecuteTaint(t *testing.T) {
	l, k := space(t)
	const node, key = "client1", "e2e/evict"
	tolerate := func(more string) string { return `{key: "e2e/evict", operator: Exists, effect: NoExecute` + more + "}" }
	k.In(barePod("none", node, "")+barePod("short", node, tolerate(", tolerationSeconds: 3"))+
		barePod("long", node, tolerate(", tolerationSeconds: 3000"))+barePod("ever", node, tolerate(""))).Must(t, "apply", "-f", "-")
	l.ReadyPods(t, k.Namespace, "app=bare", 4, limit)
	k.Must(t, "taint", "node", node, key+"=x:NoExecute")
	t.Cleanup(func() { k.Try("taint", "node", node, key+"-") })
	l.ReadyPods(t, k.Namespace, "app=bare", 3, limit)
	kit.WantMatch(t, k.Must(t, "get", "events"), `TaintManagerEviction +pod/none +Marking for deletion Pod `+k.Namespace+`/none`)
	left := names(l.ReadyPods(t, k.Namespace, "app=bare", 2, limit))
	if left != "ever long" {
		t.Errorf("%s are left", left)
	}
	k.Must(t, "taint", "node", node, key+"-")
	kit.Eventually(t, limit, "the reprieve", func() error {
		return kit.Matches(k.Must(t, "get", "events"), `TaintManagerEviction +pod/long +Cancelling deletion of Pod `+k.Namespace+`/long`)
	})
	if left = names(l.ReadyPods(t, k.Namespace, "app=bare", 2, limit)); left != "ever long" {
		t.Errorf("%s are left", left)
	}
}

func names(pods []corev1.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestAutoscaler: load makes a Deployment grow from one pod to its most, and its end makes it shrink again.
func TestAutoscaler(t *testing.T) {
	l, k := space(t)
	k.In(web(1, ", resources: {requests: {cpu: 20m}, limits: {cpu: 100m}}", "")+`---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 100}}}
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
`).Must(t, "apply", "-f", "-")
	p := l.ReadyPods(t, k.Namespace, "app=web", 1, limit)[0]
	ctx, idle := context.WithCancel(context.Background())
	defer idle()
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			_, _ = l.Exec(t, p.Spec.NodeName, "curl", "-s", "--max-time", "5", "http://"+p.Status.PodIP+":8080/burn?ms=1000")
		}
	})
	l.ReadyPods(t, k.Namespace, "app=web", 3, 2*limit)
	kit.WantMatch(t, k.Must(t, "get", "hpa", "web"), `web +Deployment/web +cpu: \d+%/100% +1 +3 +\d`)
	idle()
	load.Wait()
	l.ReadyPods(t, k.Namespace, "app=web", 1, 2*limit)
	kit.WantMatch(t, k.Must(t, "describe", "hpa", "web"), `AbleToScale +True`, `ScalingActive +True +ValidMetricFound`,
		`SuccessfulRescale .* New size: \d; reason: cpu resource utilization \(percentage of request\) above target`, `SuccessfulRescale .* New size: 1; reason: All metrics below target`)
}

// TestRebalance: pods that could only go to one node are spread when the others take pods again.
func TestRebalance(t *testing.T) {
	l, k := space(t)
	for _, n := range []string{"client2", "client3"} {
		k.Must(t, "cordon", n)
		t.Cleanup(func() { k.Try("uncordon", n) })
	}
	k.In(web(6, ", resources: {requests: {cpu: 50m, memory: 16Mi}}", "")+budget("maxUnavailable: 2")).Must(t, "apply", "-f", "-")
	pods := l.ReadyPods(t, k.Namespace, "app=web", 6, limit)
	k.Must(t, "uncordon", "client2", "client3")
	rebalance := func(args ...string) (string, int) {
		c := exec.Command(kit.Peapod(), append([]string{"operator", "rebalance", "--data-dir", filepath.Join(l.Node(t, "server1").Dir, "data")}, args...)...)
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	out, code := rebalance()
	if code != 1 {
		t.Fatalf("the plan: exit code %d\n%s", code, out)
	}
	kit.WantMatch(t, out, `NAMESPACE +POD +FROM +TO +REASON`, k.Namespace+` +web-\S+ +client1 +client[23] +6 of its kind are on client1, 0 on client[23]`, `NODE +REQUESTED +AFTERWARDS`)
	if now := names(l.ReadyPods(t, k.Namespace, "app=web", 6, limit)); now != names(pods) {
		t.Fatal("the plan moved something")
	}
	stop := fewestReady(t, l, k.Namespace, pods)
	if out, code = rebalance("--apply", "--wave", "3"); code != 0 {
		t.Fatalf("the moves: exit code %d\n%s", code, out)
	}
	if n := stop(); n < 4 {
		t.Errorf("only %d pods were ready", n)
	}
	on := map[string]int{}
	for _, p := range l.ReadyPods(t, k.Namespace, "app=web", 6, limit) {
		on[p.Spec.NodeName]++
	}
	if on["client1"] != 2 || on["client2"] != 2 || on["client3"] != 2 {
		t.Errorf("%v", on)
	}
	if out, code = rebalance("--dry-run"); code != 0 {
		t.Errorf("a second plan: exit code %d\n%s", code, out)
	}
}

const jobFile = `variable "count" { default = 3 }
job "web" {
  group "front" {
    count = var.count
    task "demo" {
      driver = "docker"
      config { image = "peapod/demo" }
      resources {
        cpu    = 10
        memory = 16
      }
    }
  }
}
`

// TestJobPlan: a plan says where pods would run and changes nothing; its exit codes are for scripts.
func TestJobPlan(t *testing.T) {
	l, k := space(t)
	file := filepath.Join(t.TempDir(), "web.hcl")
	if err := os.WriteFile(file, []byte(jobFile), 0o600); err != nil {
		t.Fatal(err)
	}
	job := func(code int, args ...string) string {
		t.Helper()
		c := exec.Command(kit.Peapod(), append([]string{"job", "--kubeconfig", l.Kubeconfig, "-n", k.Namespace}, args...)...)
		out, _ := c.CombinedOutput()
		if got := c.ProcessState.ExitCode(); got != code {
			t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, out)
		}
		return string(out)
	}
	kit.WantMatch(t, job(1, "plan", file), `\+ Deployment web\n`, `\nPods:\n`, `\+ Deployment/web +1 +start on client1\n +\+ Deployment/web +1 +start on client2\n +\+ Deployment/web +1 +start on client3\n`)
	if out := k.Must(t, "get", "deployments,pods"); strings.Contains(out, "web") {
		t.Fatalf("the plan changed something: %s", out)
	}
	job(0, "run", file)
	kit.WantMatch(t, job(0, "plan", file), `Nothing would change`)
	kit.WantMatch(t, job(1, "plan", file, "-var", "count=2"), `~ spec.replicas: 3 => 2`, `- Deployment/web +1 +end on client\d`)
	kit.WantMatch(t, job(1, "plan", file, "-var", "count=5000"), `! Deployment/web +\d+ +fit nowhere: 0/4 nodes are available: .*Insufficient cpu|! Deployment/web +\d+ +fit nowhere: 0/3 nodes are available: .*(Insufficient|Too many)`)
	job(255, "plan", file+".missing")
}
