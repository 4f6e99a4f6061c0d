package reconcile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// visit is a life of everything in names of its own: a node joins and leaves, workloads of all kinds come, change, fail and go.
func (w *world) visit(i int) {
	name := func(s string) string { return fmt.Sprint(s, i) }
	before := map[ref]bool{}
	for r := range w.objects {
		before[r] = true
	}
	w.bringNode(name("node"))
	w.bringWorkloads(name)
	w.bringTrouble(name)
	w.live(3 * time.Minute)
	d := w.deployment(name("web"))
	d.Spec.Template.Spec.Containers[0].Image = "v2"
	w.put(Deployments, d)
	w.changeSet(w.t, "StatefulSet", name("db"), "image", "v2")
	w.live(time.Minute)
	w.dead[name("node")] = true
	w.e.NodeDown(name("node"))
	w.live(10 * time.Minute)
	delete(w.dead, name("node"))
	w.leave(before)
}

func (w *world) bringNode(name string) {
	w.addNode(name, "4", "110")
	n := w.node(name).DeepCopy()
	n.Labels, n.Annotations = map[string]string{corev1.LabelHostname: n.Name}, map[string]string{api.LocalPathAnnotation: "/data"}
	w.put(Nodes, n)
}

func (w *world) bringWorkloads(name func(string) string) {
	d := testDeployment(name("web"), 3)
	w.put(Deployments, d)
	w.addService(name("web"), name("web"))
	b := testBudget("1", "", d.Spec.Selector)
	b.Name = name("b")
	w.put(Budgets, b)
	a := testAutoscaler("Deployment", "apps/v1", name("web"), 50)
	a.Name = name("a")
	w.put(Autoscalers, a)
	s := testStatefulSet(name("db"), 2)
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*testClaim("data", "local-path", "1Gi")}
	w.put(StatefulSets, s)
	w.put(DaemonSets, testDaemonSet(name("log")))
	j := testJob(name("batch"), 60)
	j.Spec.Parallelism, j.Spec.Completions = ptr.To[int32](2), ptr.To[int32](2)
	w.put(Jobs, j)
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name("cron")}, Spec: batchv1.CronJobSpec{
		Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, SuccessfulJobsHistoryLimit: ptr.To[int32](1), FailedJobsHistoryLimit: ptr.To[int32](1),
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}}}}
	c.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.put(CronJobs, c)
}

// bringTrouble is of pods that do not fit or go for others, of a gang that is not whole, and of what lacks something.
func (w *world) bringTrouble(name func(string) string) {
	w.addPod(name("large"), "100", 0, nil)
	w.addPod(name("first"), "3", 1, nil)
	w.addPod(name("second"), "4", 2, nil)
	for m := range 2 {
		w.addPod(fmt.Sprint(name("g"), "-", m), "1", 1, func(p *corev1.Pod) {
			p.Annotations = map[string]string{GangName: name("gang"), GangSize: "3"}
		})
	}
	w.put(Ingresses, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name("door")}, Spec: networkingv1.IngressSpec{
		IngressClassName: ptr.To("none"), DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name("web"), Port: networkingv1.ServiceBackendPort{Number: 80}}}}})
	w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name("space")}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	w.put(Quotas, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: name("space"), Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}}})
	away := testDeployment(name("away"), 2)
	away.Namespace = name("space")
	w.put(Deployments, away)
	w.put(Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name("lb")}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer,
		Selector: map[string]string{"app": name("web")}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}})
}

// leave ends all that is not of before: first who makes something else.
func (w *world) leave(before map[ref]bool) {
	left := func(yield func(*object) bool) {
		for _, r := range slices.SortedFunc(maps.Keys(w.objects), compareRefs) {
			if o := w.objects[r]; o != nil && !before[r] && !yield(o) {
				return
			}
		}
	}
	for o := range left {
		if o.gr == Namespaces {
			w.ask(o.gr, o.ns, o.name)
		} else if o.gr != Claims && o.gr != Volumes && len(o.meta.GetOwnerReferences()) == 0 {
			w.erase(o.ref)
		}
	}
	for k, p := range w.pods {
		if p.Controller() == nil {
			w.deletePod(w.now.Unix(), ops.DeleteRow{Namespace: k.Namespace, Name: k.Name, UID: p.UID})
		}
	}
	w.live(10 * time.Minute)
	for o := range left {
		if o.gr == Claims {
			w.ask(o.gr, o.ns, o.name)
		}
	}
	w.live(10 * time.Minute)
	for o := range left {
		if o.gr == Events {
			w.erase(o.ref)
		}
	}
	w.live(time.Minute)
}

// live lets time pass in which nodes and jobs do their part.
func (w *world) live(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(20 * time.Second) {
		w.converge()
		for _, p := range w.pods {
			if ofJob(p) && p.Status.Ready() && !p.Terminal() {
				w.setStatus(p, corev1.PodSucceeded, false)
			}
		}
		w.emptyDirs()
	}
	w.converge()
}

// counts are how many elements each map and list of the engine and of its table has, those at one path together. What others have made, as
// objects, is not looked into.
func counts(e *Engine) map[string]int {
	const own = "github.com/peapod-sh/peapod/sched"
	out, seen := map[string]int{}, map[uintptr]bool{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] || !strings.HasPrefix(v.Type().Elem().PkgPath(), own) {
				return
			}
			seen[v.Pointer()] = true
			walk(path, v.Elem())
		case reflect.Struct:
			if !strings.HasPrefix(v.Type().PkgPath(), own) && v.Type().PkgPath() != "" {
				return
			}
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Map:
			out[path] += v.Len()
			for it := v.MapRange(); it.Next(); {
				walk(path+"[]", it.Value())
			}
		case reflect.Slice, reflect.Array:
			if v.Kind() == reflect.Slice {
				out[path] += v.Len()
			}
			for i := range v.Len() {
				walk(path+"[]", v.Index(i))
			}
		}
	}
	walk("", reflect.ValueOf(e))
	return out
}

// TestNothingStays: a leader may lead for months, in which names come and go without end. Invariant 234.
func TestNothingStays(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.furnishStorage(2)
	w.setPool("10.9.0.0/24")
	w.settle()
	var sizes []map[string]int
	for i := range 5 {
		w.visit(i)
		sizes = append(sizes, counts(w.e))
	}
	if len(sizes[0]) < 50 {
		t.Fatalf("only %d maps and lists are known", len(sizes[0]))
	}
	before, after := sizes[1], sizes[len(sizes)-1] // the first visit may leave what all share
	for _, path := range slices.Sorted(maps.Keys(after)) {
		bounded := strings.HasPrefix(path, ".table.sizings") // see sizingsMax
		if after[path] > before[path] && !bounded {
			t.Errorf("%s had %d after two visits and has %d after %d", path, before[path], after[path], len(sizes))
		}
	}
}
