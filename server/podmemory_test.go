package server

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

var podsHeld = flag.Int("pods", 20_000, "how many pods TestPodsAreSmall holds")

// What a running pod may take of the live heap, in bytes: of the state that every server has, and of the engine that the leader has besides.
const (
	statePodBytesMax  = 512
	enginePodBytesMax = 320
)

// alone is set in the environment of a process that runs one test, so that nothing else uses the heap.
const alone = "PEAPOD_TEST_ALONE"

// A pod's memory is that of its state and of its share of the engine's model, without raft, connections and the collector's room.
func TestPodsAreSmall(t *testing.T) {
	if os.Getenv(alone) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestPodsAreSmall$", "-test.v", "-pods", strconv.Itoa(*podsHeld))
		c.Env = append(os.Environ(), alone+"=1")
		out, err := c.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	const perNode = 1000
	nodes := max(100, (*podsHeld+perNode-1)/perNode)
	w := newPlainTerm(t)
	for i := range nodes {
		w.put("nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%04d", i), UID: types.UID(fmt.Sprintf("node-%04d", i))},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4000"), corev1.ResourceMemory: resource.MustParse("4000Gi"),
				corev1.ResourcePods: resource.MustParse("2000")}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	}
	w.put("namespaces", "", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "default"}})
	w.settle()
	empty := w.heap()
	w.put("deployments", "apps", deploymentOf("web", int32(*podsHeld)))
	w.settle()
	w.runAll()
	w.settle()
	full := w.heap()
	runtime.KeepAlive(w.engine)
	w.engine = nil
	state := w.heap()
	// What the engine knows of the few objects besides is left out: it is nothing beside that many pods.
	perPod := func(bytes int) int { return bytes / *podsHeld }
	t.Logf("%d pods on %d nodes: %d bytes a pod of live heap on the leader, %d of them the engine's", *podsHeld, nodes, perPod(full-empty), perPod(full-state))
	if *podsHeld < 10_000 {
		return // what there is besides would count
	}
	if got := perPod(full - state); got > enginePodBytesMax {
		t.Errorf("the engine keeps %d bytes a pod, at most %d are fine", got, enginePodBytesMax)
	}
	if got := perPod(state - empty); got > statePodBytesMax {
		t.Errorf("the state keeps %d bytes a pod, at most %d are fine", got, statePodBytesMax)
	}
	runtime.KeepAlive(w.state)
}

func deploymentOf(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Generation: 1},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "peapod/demo"}}}}}}
	api.KindFor(schema.GroupResource{Resource: "deployments", Group: "apps"}).Default(d)
	return d
}

// plainTerm is a term over a state without a log.
type plainTerm struct {
	t      testing.TB
	state  *fsm.FSM
	engine *reconcile.Engine
	tail   *fsm.Tail
	index  uint64
	now    time.Time
}

func newPlainTerm(t testing.TB) *plainTerm {
	w := &plainTerm{t: t, state: fsm.New(), engine: reconcile.New(reconcile.Config{Seed: 1}), now: time.Unix(1_800_000_000, 0)}
	_, w.tail = w.state.TailAll(func(*api.Change) bool { return true })
	t.Cleanup(w.tail.Close)
	return w
}

func (w *plainTerm) put(resource, group string, obj k8sruntime.Object) {
	w.apply([]ops.Op{&ops.Put{Resource: schema.GroupResource{Resource: resource, Group: group}, Object: obj, Expect: ops.Absent}})
}

// apply sends ops the way that a log would.
func (w *plainTerm) apply(list []ops.Op) {
	w.t.Helper()
	entry, err := ops.Encode(list)
	if err != nil {
		w.t.Fatal(err)
	}
	w.index++
	for i, r := range w.state.Apply(w.index, entry) {
		for row, outcome := range r.Rows {
			if outcome != ops.Applied {
				w.engine.Failed(list[i], row, outcome)
			}
		}
	}
	changes, err := w.tail.Take()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range changes {
		w.engine.Observe(c)
	}
}

// settle lets the controllers decide until they want nothing.
func (w *plainTerm) settle() {
	for range 1000 {
		w.now = w.now.Add(time.Second)
		list, _ := w.engine.Step(w.now)
		if len(list) == 0 {
			return
		}
		for _, part := range chunks(list) {
			w.apply(part)
		}
	}
	w.t.Fatal("the controllers do not come to an end")
}

// runAll reports every pod Running.
func (w *plainTerm) runAll() {
	var rows []ops.StatusRow
	n := 0
	w.state.Table(fsm.Pods).Pods(func(r *api.PodRecord) bool {
		n++
		encoded, err := runningStatus(r, w.now.Add(time.Duration(n%100)*time.Second)).Marshal()
		if err != nil {
			w.t.Fatal(err)
		}
		rows = append(rows, ops.StatusRow{Namespace: r.Namespace(), Name: r.Name, UID: r.UID, Status: encoded})
		return true
	})
	if n != *podsHeld {
		w.t.Fatalf("there are %d pods, want %d", n, *podsHeld)
	}
	for len(rows) > 0 {
		some := min(len(rows), 100)
		w.apply([]ops.Op{&ops.PodStatuses{Rows: rows[:some]}})
		rows = rows[some:]
	}
}

// runningStatus is what an agent says of a pod.
func runningStatus(r *api.PodRecord, at time.Time) *corev1.PodStatus {
	id, started := sha256.Sum256([]byte(r.UID)), true
	then, now := metav1.NewTime(at), metav1.NewTime(at.Add(time.Second))
	node, ip := "192.168.0."+r.Node[len(r.Node)-2:], fmt.Sprintf("10.%d.%d.%d", id[0], id[1], id[2])
	s := &corev1.PodStatus{ObservedGeneration: 1, Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBestEffort, StartTime: &then, HostIP: node,
		HostIPs: []corev1.HostIP{{IP: node}}, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Image: "peapod/demo", ImageID: fmt.Sprintf("sha256:%064d", 7), ContainerID: fmt.Sprintf("peapod://%x", id),
			Ready: true, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}}}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now, ObservedGeneration: 1})
	}
	return s
}

// heap is the live heap, without the changes that are kept for watchers.
func (w *plainTerm) heap() int {
	w.state.Trim()
	var m runtime.MemStats
	for range 3 { // what weak pointers and cleanups hold goes later
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
