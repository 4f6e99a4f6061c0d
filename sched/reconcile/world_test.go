package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"net/netip"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// failer is what tests and rapid have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a store, an engine and nodes in one goroutine and virtual time.
type world struct {
	t       failer
	e       *Engine
	now     time.Time
	rev     uint64
	objects map[ref]*object
	pods    map[types.NamespacedName]*api.PodRecord
	dead    map[string]bool
	ips     int
	// check, if set, is called with the ops of every step before they are applied.
	check func([]ops.Op)
	// lose, if set, says of an op that it does not apply, for no reason that the engine could know.
	lose     func(ops.Op) bool
	sick     func(*api.PodRecord) bool // if set, says which pods never become ready
	stepping bool                      // what is applied is the engine's
	trace    []string
}

func newWorld(t failer, seed uint64) *world {
	return &world{
		t: t, now: time.Unix(1_700_000_000, 0).UTC(), objects: map[ref]*object{},
		pods: map[types.NamespacedName]*api.PodRecord{}, dead: map[string]bool{},
		e: New(Config{Seed: seed, ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16")}),
	}
}

func (w *world) observe(c *api.Change) { w.e.Observe(c) }

func (w *world) setObject(op *ops.Put) ops.Outcome {
	r := refOf(op.Resource, op.Object)
	if op.Resource == Pods {
		return w.setPod(op)
	}
	old := w.objects[r]
	if o := expectation(op.Expect, old != nil, func() uint64 { return old.rev }); o != ops.Applied {
		return o
	}
	w.rev++
	o := op.Object.DeepCopyObject()
	mustMeta(o).SetResourceVersion(strconv.FormatUint(w.rev, 10))
	c := &api.Change{Revision: w.rev, Resource: r.gr, Namespace: r.ns, Name: r.name, New: o}
	if old != nil {
		c.Old = old.obj
	}
	w.objects[r] = &object{ref: r, obj: o, meta: mustMeta(o), rev: w.rev}
	w.observe(c)
	return ops.Applied
}

func expectation(expect uint64, there bool, rev func() uint64) ops.Outcome {
	switch {
	case expect == ops.Any:
		return ops.Applied
	case expect == ops.Absent && there:
		return ops.Found
	case expect == ops.Absent:
		return ops.Applied
	case !there:
		return ops.NotFound
	case expect != ops.Exists && expect != rev():
		return ops.Conflict
	}
	return ops.Applied
}

func (w *world) setPod(op *ops.Put) ops.Outcome {
	p := op.Object.DeepCopyObject().(*corev1.Pod)
	k := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	old := w.pods[k]
	if o := expectation(op.Expect, old != nil, func() uint64 { return old.Revision }); o != ops.Applied {
		return o
	}
	status, _ := p.Status.Marshal()
	rec := &api.PodRecord{Name: p.Name, UID: p.UID, Node: p.Spec.NodeName, Created: p.CreationTimestamp.Unix()}
	if p.DeletionTimestamp != nil {
		rec.DeletionTime, rec.DeletionGrace = p.DeletionTimestamp.Unix(), *p.DeletionGracePeriodSeconds
	}
	rec.Template, _ = api.NewPodTemplate(p)
	_ = rec.SetStatus(status)
	w.putRecord(old, rec)
	return ops.Applied
}

func (w *world) putRecord(old, rec *api.PodRecord) {
	w.rev++
	some := rec
	if some == nil {
		some = old
	} else {
		rec.Revision = w.rev
		if old != nil && old.UID == rec.UID && old.Node != "" && rec.Node != "" && old.Node != rec.Node {
			w.t.Fatalf("pod %s is bound to %q after %s", rec.Name, rec.Node, old.Node)
		}
	}
	k := types.NamespacedName{Namespace: some.Namespace(), Name: some.Name}
	if rec == nil {
		delete(w.pods, k)
	} else {
		w.pods[k] = rec
	}
	w.observe(&api.Change{Revision: w.rev, Resource: Pods, Namespace: k.Namespace, Name: k.Name, OldPod: old, NewPod: rec})
}

func (w *world) deleteObject(op *ops.Delete) ops.Outcome {
	if op.Resource == Pods {
		rec := w.pods[types.NamespacedName{Namespace: op.Namespace, Name: op.Name}]
		if rec == nil {
			return ops.NotFound
		}
		w.putRecord(rec, nil)
		return ops.Applied
	}
	r := ref{op.Resource, op.Namespace, op.Name}
	old := w.objects[r]
	if o := expectation(op.Expect, old != nil, func() uint64 { return old.rev }); o != ops.Applied {
		return o
	}
	w.rev++
	delete(w.objects, r)
	w.observe(&api.Change{Revision: w.rev, Resource: r.gr, Namespace: r.ns, Name: r.name, Old: old.obj})
	return ops.Applied
}

// apply carries the ops out and tells the engine what failed.
func (w *world) apply(list []ops.Op) {
	for _, op := range list {
		if w.lose != nil && w.lose(op) {
			for i := range max(1, rowsOf(op)) {
				w.e.Failed(op, i, ops.Conflict)
			}
			continue
		}
		for i, o := range w.applyOne(op) {
			if o != ops.Applied {
				w.trace = append(w.trace, fmt.Sprintf("failed %T row %d: %d", op, i, o))
				w.e.Failed(op, i, o)
			}
		}
	}
}

func rowsOf(op ops.Op) int {
	switch op := op.(type) {
	case *ops.PlanPods:
		return len(op.Rows)
	case *ops.BindPods:
		return len(op.Rows)
	case *ops.PodStatuses:
		return len(op.Rows)
	case *ops.DeletePods:
		return len(op.Rows)
	}
	return 1
}

func (w *world) applyOne(op ops.Op) (out []ops.Outcome) {
	switch op := op.(type) {
	case *ops.Put:
		return []ops.Outcome{w.setObject(op)}
	case *ops.Delete:
		return []ops.Outcome{w.deleteObject(op)}
	case *ops.PlanPods:
		t, err := api.NewPodTemplate(op.Template.DeepCopy())
		if err != nil {
			w.t.Fatalf("template: %v", err)
		}
		for _, r := range op.Rows {
			out = append(out, w.plan(t, op.Created, r))
		}
	case *ops.BindPods:
		for _, r := range op.Rows {
			out = append(out, w.changePod(r.Namespace, r.Name, r.UID, func(rec *api.PodRecord) ops.Outcome {
				if rec.Node != "" || rec.Deleting() {
					return ops.Conflict
				}
				rec.Node = r.Node
				return ops.Applied
			}))
		}
	case *ops.PodStatuses:
		for _, r := range op.Rows {
			out = append(out, w.changePod(r.Namespace, r.Name, r.UID, func(rec *api.PodRecord) ops.Outcome {
				if r.Expect != 0 && r.Expect != rec.Revision {
					return ops.Conflict
				}
				_ = rec.SetStatus(r.Status)
				return ops.Applied
			}))
		}
	case *ops.DeletePods:
		for _, r := range op.Rows {
			out = append(out, w.deletePod(op.Now, r))
		}
	}
	return out
}

func (w *world) plan(t *api.PodTemplate, created int64, r ops.PlanRow) ops.Outcome {
	name := t.Pod.GenerateName + r.Suffix
	if w.pods[types.NamespacedName{Namespace: t.Pod.Namespace, Name: name}] != nil {
		return ops.Found
	}
	w.putRecord(nil, &api.PodRecord{Template: t, Name: name, UID: r.UID, Node: r.Node, Created: created})
	return ops.Applied
}

func (w *world) changePod(ns, name string, uid types.UID, change func(*api.PodRecord) ops.Outcome) ops.Outcome {
	old := w.pods[types.NamespacedName{Namespace: ns, Name: name}]
	if old == nil {
		return ops.NotFound
	}
	if old.UID != uid {
		return ops.Conflict
	}
	rec := *old
	if o := change(&rec); o != ops.Applied {
		return o
	}
	w.putRecord(old, &rec)
	return ops.Applied
}

func (w *world) deletePod(now int64, r ops.DeleteRow) ops.Outcome {
	old := w.pods[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}]
	if old == nil {
		return ops.NotFound
	}
	grace := r.Grace
	if grace < 0 {
		grace = 30
		if g := old.Spec().TerminationGracePeriodSeconds; g != nil {
			grace = *g
		}
	}
	if (old.Node == "" || old.Terminal() || grace == 0) && len(old.Template.Pod.Finalizers) == 0 {
		w.putRecord(old, nil)
		return ops.Applied
	}
	if old.Deleting() && old.DeletionTime <= now+grace {
		return ops.Applied // it goes that soon already, and nobody hears of it
	}
	return w.changePod(r.Namespace, r.Name, r.UID, func(rec *api.PodRecord) ops.Outcome {
		rec.DeletionTime, rec.DeletionGrace = now+grace, grace
		return ops.Applied
	})
}

// settle steps until a step is empty, then once more: nothing may be left to do.
func (w *world) settle() {
	w.t.Helper()
	for range 200 {
		out, _ := w.e.Step(w.now)
		w.checkOnce(out)
		if w.check != nil {
			w.check(out)
		}
		w.note(out)
		if len(out) == 0 {
			if again, _ := w.e.Step(w.now); len(again) != 0 {
				w.t.Fatalf("a step after an empty one has ops: %v", describe(again))
			}
			return
		}
		w.stepping = true
		w.apply(out)
		w.stepping = false
	}
	out, _ := w.e.Step(w.now)
	w.t.Fatalf("the engine does not come to rest; it still wants %v", describe(out))
}

// work lets the nodes do their part once: start what is bound, end what is deleting.
func (w *world) work() (did bool) {
	for _, k := range slices.SortedFunc(maps.Keys(w.pods), func(a, b types.NamespacedName) int {
		return compareRefs(ref{name: a.Name, ns: a.Namespace}, ref{name: b.Name, ns: b.Namespace})
	}) {
		rec := w.pods[k]
		switch {
		case rec.Node == "" || w.dead[rec.Node]:
		case rec.Deleting() && len(rec.Template.Pod.Finalizers) > 0: // it ends, and stays for whoever wants it to
			if !rec.Terminal() {
				next := *rec
				b, _ := (&corev1.PodStatus{Phase: corev1.PodFailed}).Marshal()
				_ = next.SetStatus(b)
				w.putRecord(rec, &next)
				did = true
			}
		case rec.Deleting():
			w.putRecord(rec, nil)
			did = true
		case !rec.Status.Ready() && !rec.Terminal() && (w.sick == nil || !w.sick(rec)):
			w.start(rec)
			did = true
		}
	}
	return did
}

func (w *world) start(rec *api.PodRecord) {
	next := *rec
	w.ips++
	s := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.42.%d.%d", w.ips/250, w.ips%250+1)}
	s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.now)}}
	b, _ := s.Marshal()
	_ = next.SetStatus(b)
	w.putRecord(rec, &next)
}

// converge lets engine and nodes work until nobody has anything to do.
func (w *world) converge() {
	w.t.Helper()
	for range 500 {
		w.settle()
		if !w.work() {
			return
		}
		w.now = w.now.Add(time.Second)
	}
	w.t.Fatalf("the world does not come to rest")
}

// put writes an object as a user would.
func (w *world) put(gr schema.GroupResource, o runtime.Object) {
	m := mustMeta(o)
	if m.GetUID() == "" {
		w.rev++
		m.SetUID(types.UID(fmt.Sprintf("uid-%d", w.rev)))
		m.SetCreationTimestamp(metav1.NewTime(w.now))
	}
	m.SetGeneration(m.GetGeneration() + 1)
	w.apply([]ops.Op{&ops.Put{Resource: gr, Object: o, Expect: ops.Any}})
}

func (w *world) deployment(name string) *appsv1.Deployment {
	if o := w.objects[ref{Deployments, "default", name}]; o != nil {
		return o.obj.DeepCopyObject().(*appsv1.Deployment)
	}
	return nil
}

func (w *world) list(gr schema.GroupResource) (out []*object) {
	for _, r := range slices.SortedFunc(maps.Keys(w.objects), compareRefs) {
		if r.gr == gr {
			out = append(out, w.objects[r])
		}
	}
	return out
}

func (w *world) addNode(name string, cpu, pods string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name)}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse(pods),
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	w.put(Nodes, n)
	w.e.NodeUp(name)
}

func (w *world) addService(name, app string) {
	w.put(Services, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("web"), Protocol: corev1.ProtocolTCP}}},
	})
}

func testDeployment(name string, n int32) *appsv1.Deployment {
	deadline := int32(600)
	l := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: l},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: l}, ProgressDeadlineSeconds: &deadline,
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")},
		},
	}
}

func testPodSpec(image string) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: image, Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
	}}}
}

// podsOn counts pods that live, by node.
func (w *world) podsOn() map[string]int {
	out := map[string]int{}
	for _, r := range w.pods {
		if !r.Deleting() {
			out[r.Node]++
		}
	}
	return out
}

func (w *world) readyAddresses(service string) (n int) {
	if o := w.objects[ref{Endpoints, "default", service}]; o != nil {
		for _, s := range o.obj.(*corev1.Endpoints).Subsets {
			n += len(s.Addresses)
		}
	}
	return n
}

func standardWorld(t failer, seed uint64, nodes int) *world {
	w := newWorld(t, seed)
	w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	for i := range nodes {
		w.addNode(fmt.Sprintf("n%d", i+1), "4", "110")
	}
	w.settle()
	return w
}

var _ failer = (*testing.T)(nil)
