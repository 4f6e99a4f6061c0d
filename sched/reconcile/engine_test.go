package reconcile

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

func TestDeploymentBecomesAvailable(t *testing.T) {
	w := standardWorld(t, 1, 3)
	w.addService("web", "web")
	w.put(Deployments, testDeployment("web", 3))
	w.converge()
	for _, n := range []string{"n1", "n2", "n3"} {
		if w.podsOn()[n] != 1 {
			t.Fatalf("three pods on three nodes lie %v", w.podsOn())
		}
	}
	d := w.deployment("web")
	if d.Status.AvailableReplicas != 3 || d.Status.UpdatedReplicas != 3 || d.Annotations[revisionAnnotation] != "1" {
		t.Fatalf("status %+v annotations %v", d.Status, d.Annotations)
	}
	if n := w.readyAddresses("web"); n != 3 {
		t.Fatalf("%d ready addresses\n%s", n, strings.Join(w.trace, "\n"))
	}
}

// TestDeadNodeIsReplacedInOneStep: Invariant 33.
func TestDeadNodeIsReplacedInOneStep(t *testing.T) {
	w := standardWorld(t, 2, 3)
	w.addService("web", "web")
	d := testDeployment("web", 3)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} { // as admission gives them; they keep no pod
		seconds := int64(300)
		d.Spec.Template.Spec.Tolerations = append(d.Spec.Template.Spec.Tolerations,
			corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	w.put(Deployments, d)
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bare", Labels: map[string]string{"app": "web"}}, Spec: testPodSpec("v1")})
	w.converge()
	bare := w.pods[nn("default", "bare")]
	w.dead[bare.Node] = true
	before := w.podsOn()[bare.Node]
	w.e.NodeDown(bare.Node)
	out, _ := w.e.Step(w.now)
	var deleted, planned, endpoints int
	for _, op := range out {
		switch op := op.(type) {
		case *ops.DeletePods:
			deleted += len(op.Rows)
		case *ops.PlanPods:
			for _, r := range op.Rows {
				if r.Node == "" || r.Node == bare.Node {
					t.Fatalf("replacement on %q", r.Node)
				}
				planned++
			}
		case *ops.Put:
			if op.Resource == Endpoints {
				endpoints++
			}
		}
	}
	if deleted != before-1 || planned != deleted || endpoints != 1 {
		t.Fatalf("deleted %d planned %d endpoints %d: %v", deleted, planned, endpoints, describe(out))
	}
	w.apply(out)
	w.converge()
	if now := w.pods[nn("default", "bare")]; now == nil || now.UID != bare.UID || now.Status.Ready() {
		t.Fatalf("the bare pod is %+v", now)
	}
	if n := w.readyAddresses("web"); n != 3 {
		t.Fatalf("%d ready addresses", n)
	}
	delete(w.dead, bare.Node)
	w.e.NodeUp(bare.Node)
	w.converge()
	n := w.objects[ref{Nodes, "", bare.Node}].obj.(*corev1.Node)
	if len(n.Spec.Taints) != 0 || nodeCondition(n, corev1.NodeReady).Status != corev1.ConditionTrue {
		t.Fatalf("the node came back as %+v %+v", n.Spec, n.Status.Conditions)
	}
	if n := w.readyAddresses("web"); n != 4 {
		t.Fatalf("%d ready addresses after the return", n)
	}
}

func TestUnplaceablePodIsToldAndPlacedLater(t *testing.T) {
	w := standardWorld(t, 3, 1)
	d := testDeployment("big", 1)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	w.put(Deployments, d)
	w.converge()
	if all := strings.Join(w.trace, "\n"); !strings.Contains(all, "PodScheduled=False 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.") {
		t.Fatalf("not told:\n%s", all)
	}
	n := w.objects[ref{Nodes, "", "n1"}].obj.DeepCopyObject().(*corev1.Node)
	n.Labels = map[string]string{"disk": "ssd"}
	w.put(Nodes, n)
	w.converge()
	if w.podsOn()["n1"] != 1 {
		t.Fatalf("pods lie %v", w.podsOn())
	}
}

// Every node dies, so the replacements fit nowhere; when one is back, they must be tried again although nothing else changes.
func TestPodsThatWaitForADeadNodeRunWhenItIsBack(t *testing.T) {
	w := standardWorld(t, 3, 1)
	w.put(Deployments, testDeployment("web", 2))
	w.converge()
	w.dead["n1"] = true
	w.e.NodeDown("n1")
	w.converge()
	if n := w.podsOn()["n1"]; n != 0 {
		t.Fatalf("%d pods on a dead node", n)
	}
	delete(w.dead, "n1")
	w.e.NodeUp("n1")
	w.converge()
	if w.podsOn()["n1"] != 2 {
		t.Fatalf("pods lie %v after the return of the only node", w.podsOn())
	}
}

func TestOwnersTakeTheirDependentsAlong(t *testing.T) {
	for _, policy := range []string{"", metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents} {
		w := standardWorld(t, 4, 2)
		w.put(Deployments, testDeployment("web", 2))
		w.converge()
		d := w.deployment("web")
		if policy == "" {
			w.apply([]ops.Op{&ops.Delete{Resource: Deployments, Namespace: "default", Name: "web", Expect: ops.Any}})
		} else {
			at, zero := metav1.NewTime(w.now), int64(0)
			d.DeletionTimestamp, d.DeletionGracePeriodSeconds, d.Finalizers = &at, &zero, []string{policy}
			w.put(Deployments, d)
		}
		w.converge()
		wantSets, wantPods := 0, 0
		if policy == metav1.FinalizerOrphanDependents {
			wantSets, wantPods = 1, 2
		}
		if w.deployment("web") != nil || len(w.list(ReplicaSets)) != wantSets || len(w.pods) != wantPods {
			t.Fatalf("policy %q leaves deployment %v, %d sets, %d pods", policy, w.deployment("web") != nil, len(w.list(ReplicaSets)), len(w.pods))
		}
	}
}

func TestNamespaceIsEmptiedThenRemoved(t *testing.T) {
	w := standardWorld(t, 5, 2)
	w.addService("web", "web")
	w.put(Deployments, testDeployment("web", 2))
	w.converge()
	n := w.objects[ref{Namespaces, "", "default"}].obj.DeepCopyObject().(*corev1.Namespace)
	at := metav1.NewTime(w.now)
	n.DeletionTimestamp = &at
	w.put(Namespaces, n)
	w.converge()
	if len(w.pods) != 0 || len(w.list(Namespaces)) != 0 || len(w.objects) != 2 {
		t.Fatalf("left: %d pods, objects %v", len(w.pods), w.objects)
	}
}

func TestProgressDeadline(t *testing.T) {
	w := standardWorld(t, 6, 1)
	d := testDeployment("stuck", 1)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"no": "where"}
	w.put(Deployments, d)
	w.settle()
	_, next := w.e.Step(w.now)
	if want := w.now.Add(600 * time.Second); !next.Equal(want) {
		t.Fatalf("next is %v, not %v", next, want)
	}
	w.now = next
	w.settle()
	s := w.deployment("stuck").Status
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == reasonTimedOut && c.Status == corev1.ConditionFalse {
			return
		}
	}
	t.Fatalf("conditions %+v", s.Conditions)
}

func nn(ns, name string) types.NamespacedName { return types.NamespacedName{Namespace: ns, Name: name} }

// TestRefusedPodsAreAskedForAgain: a workload whose pods admission does not let in says so, and goes on when the facts change.
func TestRefusedPodsAreAskedForAgain(t *testing.T) {
	w := standardWorld(t, 7, 1)
	w.e.cfg.PreparePod = func(p *corev1.Pod, account *corev1.ServiceAccount, facts Facts) error {
		c, ok := facts.Object(PriorityClasses, "", "high").(*schedulingv1.PriorityClass)
		if !ok || len(facts.Objects(PriorityClasses, "")) != 1 {
			return errors.New("no PriorityClass with name high was found")
		}
		p.Spec.Priority = &c.Value
		return nil
	}
	w.put(Deployments, testDeployment("web", 2))
	w.converge()
	if all := strings.Join(w.trace, "\n"); len(w.pods) != 0 || !strings.Contains(all, "event ReplicaSet FailedCreate x1: Error creating: no PriorityClass with name high was found") {
		t.Fatalf("%d pods\n%s", len(w.pods), all)
	}
	failure := func() (out []string) {
		for _, c := range w.deployment("web").Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure {
				out = append(out, c.Reason+": "+c.Message)
			}
		}
		for _, o := range w.list(ReplicaSets) {
			for _, c := range o.obj.(*appsv1.ReplicaSet).Status.Conditions {
				out = append(out, c.Reason+": "+c.Message)
			}
		}
		return out
	}
	const want = "FailedCreate: no PriorityClass with name high was found"
	if got := failure(); !slices.Equal(got, []string{want, want}) {
		t.Fatalf("conditions %q", got)
	}
	w.put(PriorityClasses, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000})
	w.converge()
	if len(w.pods) != 2 {
		t.Fatalf("%d pods after the class came", len(w.pods))
	}
	if got := failure(); len(got) != 0 {
		t.Fatalf("conditions %q after the class came", got)
	}
	for _, p := range w.pods {
		if *p.Spec().Priority != 1000 {
			t.Fatalf("priority %d", *p.Spec().Priority)
		}
	}
}
