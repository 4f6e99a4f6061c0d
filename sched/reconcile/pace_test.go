package reconcile

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

const testPause = 100 * time.Millisecond

// pacedWorld holds statuses back as a leader does.
func pacedWorld(t *testing.T) *world {
	w := standardWorld(t, 1, 10)
	w.e.cfg.StatusPause = testPause
	return w
}

// TestStatusesWaitWhileThingsMove: pods that start one after the other are few writes, and the last of them is told at once. Invariant 156.
func TestStatusesWaitWhileThingsMove(t *testing.T) {
	w := pacedWorld(t)
	w.put(Deployments, testDeployment("web", 10))
	w.settle()
	writes := 0
	for _, k := range podNames(w) {
		w.start(w.pods[k])
		before := w.rev
		w.settle()
		writes += int(w.rev - before)
		w.now = w.now.Add(5 * time.Millisecond)
	}
	if d := w.deployment("web"); d.Status.ReadyReplicas != 10 || d.Status.UnavailableReplicas != 0 {
		t.Fatalf("all pods are ready, and it says %+v", d.Status)
	}
	if writes > 4 {
		t.Fatalf("%d writes while ten pods became ready", writes)
	}
}

// TestWhatWaitedIsToldAfterThePause also if nothing else happens. Invariant 156.
func TestWhatWaitedIsToldAfterThePause(t *testing.T) {
	w := pacedWorld(t)
	w.put(Deployments, testDeployment("web", 10))
	w.settle()
	for _, k := range podNames(w)[:7] {
		w.start(w.pods[k])
		w.settle()
	}
	if d := w.deployment("web"); d.Status.ReadyReplicas >= 7 {
		t.Fatalf("nothing waited: %+v", d.Status)
	}
	_, next := w.e.Step(w.now)
	if next.IsZero() || next.After(w.now.Add(testPause)) {
		t.Fatalf("it is now %v, and the engine wakes at %v", w.now, next)
	}
	w.now = next
	w.settle()
	d, rs := w.deployment("web"), w.list(ReplicaSets)[0]
	if d.Status.ReadyReplicas != 7 || rs.obj.(*appsv1.ReplicaSet).Status.ReadyReplicas != 7 {
		t.Fatalf("the Deployment says %+v, its ReplicaSet %+v", d.Status, rs.obj.(*appsv1.ReplicaSet).Status)
	}
}

// TestDecisionsDoNotWait: what a user did is seen to be observed at once. Invariant 156.
func TestDecisionsDoNotWait(t *testing.T) {
	w := pacedWorld(t)
	w.put(Deployments, testDeployment("web", 3))
	w.settle()
	d := w.deployment("web")
	n := int32(5)
	d.Spec.Replicas = &n
	w.put(Deployments, d)
	w.settle()
	if d := w.deployment("web"); d.Status.ObservedGeneration != d.Generation {
		t.Fatalf("generation %d is not observed: %+v", d.Generation, d.Status)
	}
	if got := len(w.pods); got != 5 {
		t.Fatalf("%d pods", got)
	}
}

// TestFirstStatusHasThePods: what a new Deployment says first is how many pods it has, and without pods it speaks after the pause.
// Invariant 156.
func TestFirstStatusHasThePods(t *testing.T) {
	w := pacedWorld(t)
	var said []appsv1.DeploymentStatus
	w.check = func(list []ops.Op) {
		for _, op := range list {
			if o, is := op.(*ops.Put); is && o.Resource == Deployments {
				said = append(said, o.Object.(*appsv1.Deployment).Status)
			}
		}
	}
	w.put(Deployments, testDeployment("web", 10))
	w.settle()
	if len(said) != 1 || said[0].Replicas != 10 || said[0].ObservedGeneration != 1 {
		t.Fatalf("it said %+v", said)
	}
	said = nil
	d := testDeployment("accountless", 2)
	d.Spec.Template.Spec.ServiceAccountName = "missing"
	w.e.cfg.PreparePod = func(*corev1.Pod, *corev1.ServiceAccount, Facts) error { return nil }
	w.put(Deployments, d)
	w.settle()
	if len(said) != 0 {
		t.Fatalf("it did not wait: %+v", said)
	}
	w.now = w.now.Add(testPause)
	w.settle()
	if len(said) != 1 || said[0].ObservedGeneration != 1 || said[0].UnavailableReplicas != 2 || len(said[0].Conditions) < 2 {
		t.Fatalf("without its account it says %+v", said)
	}
}

// TestManyPodsHaveFewEvents: single pods are spoken of until there were many, and again after a quiet time.
func TestManyPodsHaveFewEvents(t *testing.T) {
	w := standardWorld(t, 1, 30)
	w.e.cfg.PodEventsPerSecond = 100
	deploy := func(from, n int) {
		for i := from; i < from+n; i++ {
			w.put(Deployments, testDeployment(fmt.Sprint("web", i), 2))
		}
		w.settle()
	}
	count := func(reason, message string) (n int) {
		for _, o := range w.list(Events) {
			if e := o.obj.(*corev1.Event); e.Reason == reason && strings.HasPrefix(e.Message, message) {
				n++
			}
		}
		return n
	}
	deploy(0, podEventsBurst/4+100)
	single := count("Scheduled", "")
	if many, scaled := count("SuccessfulCreate", "Created 2 pods"), count("ScalingReplicaSet", ""); single != podEventsBurst/2 || many != 0 || scaled != podEventsBurst/4+100 {
		t.Fatalf("%d pods are spoken of, %d ReplicaSets say how many they made, %d Deployments", single, many, scaled)
	}
	for _, k := range podNames(w) {
		if n, _ := strconv.Atoi(strings.TrimPrefix(w.pods[k].Labels()["app"], "web")); n < 30 {
			w.putRecord(w.pods[k], nil)
		}
	}
	w.settle()
	if many := count("SuccessfulCreate", "Created 2 pods"); many != 30 {
		t.Fatalf("30 ReplicaSets have lost their pods, %d say how many they made anew", many)
	}
	w.now = w.now.Add(time.Second)
	deploy(1000, 30)
	if got := count("Scheduled", "") - single; got != 50 {
		t.Fatalf("after a second %d more pods are spoken of", got)
	}
}

func podNames(w *world) (out []types.NamespacedName) {
	for _, p := range podsByName(w.e.spaces["default"].pods.all()) {
		out = append(out, types.NamespacedName{Namespace: "default", Name: p.name()})
	}
	return out
}

// TestCrowdsSayLess: where many workloads start at once, each says how many pods it has and when all run, and little between; the last
// word waits for nothing. Invariant 156.
func TestCrowdsSayLess(t *testing.T) {
	w := pacedWorld(t)
	const crowd = crowdedWorkloads
	for i := range crowd {
		w.put(Deployments, testDeployment(fmt.Sprintf("web%d", i), 3))
	}
	w.settle()
	for i := range crowd {
		if d := w.deployment(fmt.Sprintf("web%d", i)); d.Status.Replicas != 3 {
			t.Fatalf("%s says of its three pods %+v", d.Name, d.Status)
		}
	}
	names, writes := podNames(w), 0
	for turn := range 3 { // one pod of each, longer apart than a pause
		w.now = w.now.Add(testPause + time.Millisecond)
		for i := turn; i < len(names); i += 3 {
			w.start(w.pods[names[i]])
		}
		before := w.rev
		w.settle()
		writes += int(w.rev - before)
	}
	for i := range crowd {
		if d := w.deployment(fmt.Sprintf("web%d", i)); d.Status.ReadyReplicas != 3 || d.Status.UnavailableReplicas != 0 {
			t.Fatalf("all pods of %s are ready, and it says %+v", d.Name, d.Status)
		}
	}
	if writes > 2*crowd {
		t.Fatalf("%d writes while the pods of %d Deployments became ready", writes, crowd)
	}
}
