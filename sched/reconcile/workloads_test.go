package reconcile

import (
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peapod-sh/peapod/api"
)

func testReplicaSet(n int32) *appsv1.ReplicaSet {
	d := testDeployment("web", n)
	return &appsv1.ReplicaSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.ReplicaSetSpec{Replicas: &n, Selector: d.Spec.Selector, Template: d.Spec.Template}}
}

// TestScaleDownOrder: of two pods that are equal but for one thing the one that is missed less goes.
func TestScaleDownOrder(t *testing.T) {
	for name, worsen := range map[string]func(rec *api.PodRecord, s *corev1.PodStatus){
		"without a node": func(rec *api.PodRecord, s *corev1.PodStatus) { rec.Node, s.Phase = "", corev1.PodPending },
		"pending":        func(rec *api.PodRecord, s *corev1.PodStatus) { s.Phase = corev1.PodPending },
		"unknown":        func(rec *api.PodRecord, s *corev1.PodStatus) { s.Phase = corev1.PodUnknown },
		"not ready":      func(rec *api.PodRecord, s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse },
		"cheaper": func(rec *api.PodRecord, s *corev1.PodStatus) {
			p := rec.Pod()
			p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"}
			rec.Template, _ = api.NewPodTemplate(p)
		},
		"ready later": func(rec *api.PodRecord, s *corev1.PodStatus) {
			s.Conditions[0].LastTransitionTime.Time = s.Conditions[0].LastTransitionTime.Add(time.Second)
		},
		"restarted more often": func(rec *api.PodRecord, s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount = 3 },
		"younger":              func(rec *api.PodRecord, s *corev1.PodStatus) { rec.Created++ },
	} {
		for which := range 2 { // whatever their names say
			w := standardWorld(t, 1, 1)
			w.put(ReplicaSets, testReplicaSet(2))
			w.converge()
			l := &jobLedger{w: w, made: map[types.UID]bool{}}
			for i, rec := range l.pods() {
				next, s := *rec, rec.DecodeStatus()
				s.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", RestartCount: 1}}
				s.Conditions[0].LastTransitionTime = metav1.NewTime(w.now)
				if i == which {
					worsen(&next, &s)
				}
				b, _ := s.Marshal()
				_ = next.SetStatus(b)
				w.putRecord(rec, &next)
			}
			worse := l.pods()[which].UID
			w.put(ReplicaSets, resized(w, 1))
			w.settle()
			if rec := w.record(worse); rec != nil && !rec.Deleting() {
				t.Errorf("the pod that is %s stays", name)
			}
		}
	}
}

// resized is the ReplicaSet of the world with another size.
func resized(w *world, n int32) *appsv1.ReplicaSet {
	rs := w.objects[ref{ReplicaSets, "default", "web"}].obj.DeepCopyObject().(*appsv1.ReplicaSet)
	rs.Spec.Replicas = &n
	return rs
}

// TestReplicationControllerSaysWhatIsRefused: AP051.
func TestReplicationControllerSaysWhatIsRefused(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.e.cfg.PreparePod = func(p *corev1.Pod, _ *corev1.ServiceAccount, facts Facts) error {
		if facts.Object(PriorityClasses, "", "high") == nil {
			return errors.New("not yet")
		}
		return nil
	}
	n, l := int32(2), map[string]string{"app": "old"}
	w.put(ReplicationControllers, &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old"}, Spec: corev1.ReplicationControllerSpec{
		Replicas: &n, Selector: l, Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")}}})
	w.converge()
	if c := w.controller().Status.Conditions; len(c) != 1 || c[0].Type != corev1.ReplicationControllerReplicaFailure || c[0].Reason != "FailedCreate" || c[0].Message != "not yet" {
		t.Fatalf("%+v", c)
	}
	w.put(PriorityClasses, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1})
	w.converge()
	if s := w.controller().Status; len(s.Conditions) != 0 || s.ReadyReplicas != 2 {
		t.Fatalf("%+v", s)
	}
}

// sizes are those of the ReplicaSets, the oldest revision first.
func (w *world) sizes() (out []int32) {
	list := w.list(ReplicaSets)
	slices.SortFunc(list, func(a, b *object) int { return int(revisionOf(a.meta) - revisionOf(b.meta)) })
	for _, o := range list {
		out = append(out, *o.obj.(*appsv1.ReplicaSet).Spec.Replicas)
	}
	return out
}

// TestProportionalScaling: AP018. Whoever scales a rollout that is stuck risks no more than before.
func TestProportionalScaling(t *testing.T) {
	w := standardWorld(t, 1, 4)
	d := testDeployment("web", 10)
	surge, unavailable := intstr.FromInt32(3), intstr.FromInt32(2)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
	w.put(Deployments, d)
	w.converge()
	d = w.deployment("web")
	d.Spec.Template.Spec = testPodSpec("broken")
	w.put(Deployments, d)
	w.settle() // its pods are never ready
	if got := w.sizes(); !slices.Equal(got, []int32{8, 5}) {
		t.Fatalf("stuck at %v", got)
	}
	d, more := w.deployment("web"), int32(30)
	d.Spec.Replicas = &more
	w.put(Deployments, d)
	w.settle()
	if got := w.sizes(); !slices.Equal(got, []int32{20, 13}) {
		t.Fatalf("scaled to %v", got)
	}
}

// TestScalingDownKeepsWhatIsAvailable: a share of the loss falls on a member whose pods are needed; those that are not ready go instead.
func TestScalingDownKeepsWhatIsAvailable(t *testing.T) {
	w := standardWorld(t, 1, 4)
	d := testDeployment("web", 4)
	surge, unavailable := intstr.FromInt32(0), intstr.FromString("66%")
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
	w.put(Deployments, d)
	w.converge()
	d = w.deployment("web")
	d.Spec.Template.Spec = testPodSpec("v2")
	w.put(Deployments, d)
	w.settle()
	if got := w.sizes(); !slices.Equal(got, []int32{2, 2}) {
		t.Fatalf("stuck at %v", got)
	}
	d, fewer := w.deployment("web"), int32(3)
	d.Spec.Replicas = &fewer
	w.put(Deployments, d)
	w.settle()
	if got := w.sizes(); !slices.Equal(got, []int32{2, 1}) {
		t.Fatalf("scaled to %v: two of three must be available", got)
	}
}

// TestRollback: an old template's ReplicaSet is the newest revision again, and remembers what it was.
func TestRollback(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Deployments, testDeployment("web", 2))
	w.converge()
	for _, image := range []string{"v2", "v1"} {
		d := w.deployment("web")
		d.Spec.Template.Spec = testPodSpec(image)
		w.put(Deployments, d)
		w.converge()
	}
	if got := w.sizes(); !slices.Equal(got, []int32{0, 2}) || revisionOf(w.deployment("web")) != 3 {
		t.Fatalf("%v, revision %d", got, revisionOf(w.deployment("web")))
	}
	for _, o := range w.list(ReplicaSets) {
		if rs := o.obj.(*appsv1.ReplicaSet); *rs.Spec.Replicas == 2 && rs.Annotations[revisionHistoryAnnotation] != "1" {
			t.Fatalf("annotations %v", rs.Annotations)
		}
	}
}

// TestNameCollision: a ReplicaSet of somebody else has the name that today's template would have.
func TestNameCollision(t *testing.T) {
	w := standardWorld(t, 1, 2)
	d := testDeployment("web", 2)
	other := testReplicaSet(0)
	other.Name, other.Labels = "web-"+templateHash(&d.Spec.Template, nil), map[string]string{"app": "other"}
	other.Spec.Selector, other.Spec.Template.Labels = &metav1.LabelSelector{MatchLabels: other.Labels}, other.Labels
	w.put(ReplicaSets, other)
	w.put(Deployments, d)
	w.converge()
	if s := w.deployment("web").Status; s.CollisionCount == nil || *s.CollisionCount != 1 || s.AvailableReplicas != 2 || len(w.list(ReplicaSets)) != 2 {
		t.Fatalf("%+v", s)
	}
}

// A pod's name is a host name, however long its owner's is.
func TestLongNames(t *testing.T) {
	w := standardWorld(t, 1, 1)
	rs := testReplicaSet(1)
	rs.Name = string(slices.Repeat([]byte("n"), 100))
	w.put(ReplicaSets, rs)
	w.settle()
	for k := range w.pods {
		if len(k.Name) != 63 {
			t.Fatalf("%s has %d characters", k.Name, len(k.Name))
		}
	}
	if len(w.pods) != 1 {
		t.Fatalf("%d pods", len(w.pods))
	}
}
