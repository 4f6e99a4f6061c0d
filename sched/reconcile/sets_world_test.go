package reconcile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func testStatefulSet(name string, n int32) *appsv1.StatefulSet {
	l := map[string]string{"app": name}
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: l},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &n, ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: l},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")},
		},
	}
	api.KindFor(StatefulSets).Default(s)
	return s
}

func testDaemonSet(name string) *appsv1.DaemonSet {
	l := map[string]string{"app": name}
	d := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: l},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: l},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")},
		},
	}
	api.KindFor(DaemonSets).Default(d)
	return d
}

// losing has some ops of the controllers of sets fail from now on, until stop is called.
func (w *world) losing(t *rapid.T) (stop func()) {
	odds := rapid.SampledFrom([]int{0, 3, 10}).Draw(t, "one op lost of")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "loss"), 1))
	w.lose = func(op ops.Op) bool { return w.stepping && odds > 0 && aboutSets(op) && r.IntN(odds) == 0 }
	return func() { w.lose = nil }
}

func aboutSets(op ops.Op) bool {
	switch op := op.(type) {
	case *ops.PlanPods, *ops.DeletePods:
		return true
	case *ops.Put:
		switch op.Resource {
		case StatefulSets, DaemonSets, ControllerRevisions, Nodes:
			return true
		case Claims:
			return op.Expect == 0
		}
	case *ops.Delete:
		return op.Resource == ControllerRevisions
	}
	return false
}

// outlast lets everything come to rest, also what waits for its time.
func (w *world) outlast() {
	for range 12 {
		w.converge()
		w.now = w.now.Add(2 * time.Minute)
	}
}

// inherit checks that a new leader's engine, which knows nothing but the state, finds nothing to do.
func (w *world) inherit() {
	old := w.e
	w.e = New(Config{Seed: 99, ClusterCIDR: old.cfg.ClusterCIDR})
	w.e.Load(w)
	for _, o := range w.list(Nodes) {
		w.e.NodeUp(o.name)
	}
	for range 2 {
		out, _ := w.e.Step(w.now)
		for _, op := range out {
			if put, ok := op.(*ops.Put); !ok || put.Resource != Events {
				w.t.Fatalf("a new leader wants %v", describe([]ops.Op{op}))
			}
		}
	}
	w.e = old
}

func (w *world) statefulSet(name string) *appsv1.StatefulSet {
	return w.objects[ref{StatefulSets, "default", name}].obj.DeepCopyObject().(*appsv1.StatefulSet)
}

func (w *world) daemonSet(name string) *appsv1.DaemonSet {
	return w.objects[ref{DaemonSets, "default", name}].obj.DeepCopyObject().(*appsv1.DaemonSet)
}

// changeSet changes one field of a set, as a user would.
func (w *world) changeSet(t failer, kind, name, what, to string) {
	n, _ := strconv.Atoi(to)
	number, value := int32(n), intstr.Parse(to)
	if kind == "daemonset" {
		d := w.daemonSet(name)
		switch what {
		case "image":
			d.Spec.Template.Spec = testPodSpec(to)
			api.KindFor(DaemonSets).Default(d)
		case "unavailable":
			d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &value
		case "surge":
			none := intstr.FromInt32(0)
			d.Spec.UpdateStrategy.RollingUpdate.MaxSurge, d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &value, &none
		default:
			t.Fatalf("a daemonset has no %s", what)
		}
		w.put(DaemonSets, d)
		return
	}
	s := w.statefulSet(name)
	switch what {
	case "image":
		s.Spec.Template.Spec = testPodSpec(to)
		api.KindFor(StatefulSets).Default(s)
	case "replicas":
		s.Spec.Replicas = &number
	case "partition":
		s.Spec.UpdateStrategy.RollingUpdate.Partition = &number
	case "unavailable":
		s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &value
	default:
		t.Fatalf("a statefulset has no %s", what)
	}
	w.put(StatefulSets, s)
}

// taint gives a node one taint of people's own, or takes it away again if effect is "none".
func (w *world) taint(node string, effect corev1.TaintEffect) {
	n := w.objects[ref{Nodes, "", node}].obj.DeepCopyObject().(*corev1.Node)
	n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "people" })
	if effect != "none" {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "people", Effect: effect})
	}
	w.put(Nodes, n)
}

// setStatus makes a pod say something of itself.
func (w *world) setStatus(p *api.PodRecord, phase corev1.PodPhase, ready bool) {
	s := p.DecodeStatus()
	s.Phase = phase
	c := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(w.now)}
	if ready {
		c.Status = corev1.ConditionTrue
	}
	s.Conditions = []corev1.PodCondition{c}
	b, _ := s.Marshal()
	next := *p
	_ = next.SetStatus(b)
	w.putRecord(p, &next)
}

func (w *world) deleteNamed(name string, grace int64) {
	p := w.podNamed(name)
	w.apply([]ops.Op{&ops.DeletePods{Now: w.now.Unix(), Rows: []ops.DeleteRow{{Namespace: "default", Name: name, UID: p.UID, Grace: grace}}}})
}

// images are the names and images of an application's pods that are not deleting, in the order of their names.
func (w *world) images(app string) (out []string) {
	for _, p := range w.mine(app) {
		if !p.Deleting() {
			out = append(out, fmt.Sprintf("%s=%s", p.Name, p.Spec().Containers[0].Image))
		}
	}
	slices.Sort(out)
	return out
}

// byNode are the images of an application's controlled pods that are not deleting, by node.
func (w *world) byNode(app string) map[string][]string {
	out := map[string][]string{}
	for _, uid := range slices.Sorted(maps.Keys(w.mine(app))) {
		if p := w.mine(app)[uid]; !p.Deleting() && p.Controller() != nil {
			out[p.Node] = append(out[p.Node], p.Spec().Containers[0].Image)
		}
	}
	return out
}
