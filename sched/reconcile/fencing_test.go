package reconcile

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

const fencingWait = 10 * time.Second

// ledger is what a leader knows of leases: barred nodes had their last one when they were barred.
type ledger struct {
	w      *world
	barred map[string]time.Time
}

func (l *ledger) Allow(node string) { delete(l.barred, node) }

func (l *ledger) Bar(node string) time.Time {
	if _, ok := l.barred[node]; !ok {
		l.barred[node] = l.w.now
	}
	return l.barred[node].Add(fencingWait)
}

// fencedWorld has a node that dies and one that lives.
func fencedWorld(t failer) (*world, *ledger) {
	w := newWorld(t, 1)
	l := &ledger{w, map[string]time.Time{}}
	w.e = New(Config{Seed: 1, Leases: l})
	w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	w.addNode("n1", "4", "110")
	n := w.objects[ref{Nodes, "", "n1"}].obj.DeepCopyObject().(*corev1.Node)
	n.Labels = map[string]string{corev1.LabelHostname: "n1"}
	w.put(Nodes, n)
	w.settle()
	return w, l
}

// volumeOf is a volume of an access mode that can be reached from everywhere, or from one node.
func volumeOf(node string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	v := testVolume("pv", "", "1Gi", node)
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
	return v
}

// addSet makes a ReplicaSet of one pod, and lets it run on n1.
func (w *world) addSet(change func(*corev1.PodTemplateSpec)) {
	one, l := int32(1), map[string]string{"app": "db"}
	s := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: appsv1.ReplicaSetSpec{Replicas: &one,
		Selector: &metav1.LabelSelector{MatchLabels: l}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")}}}
	change(&s.Spec.Template)
	w.put(ReplicaSets, s)
	w.converge()
}

func claiming(name string) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) {
		t.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	}
}

// only is the pod that there is.
func (w *world) only() *api.PodRecord {
	w.t.Helper()
	if len(w.pods) != 1 {
		w.t.Fatalf("there are %d pods", len(w.pods))
	}
	for _, p := range w.pods {
		return p
	}
	return nil
}

// guard says in the pod's status that its node stops it.
func (w *world) guard() {
	p := w.only()
	next := *p
	s := p.DecodeStatus()
	s.Conditions = append(s.Conditions, corev1.PodCondition{Type: api.FencedCondition, Status: corev1.ConditionFalse})
	b, _ := s.Marshal()
	_ = next.SetStatus(b)
	w.putRecord(p, &next)
	w.settle()
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.settle()
}

// What becomes of a pod whose node dies. Invariant 86.
func TestReplacementOfSingleWriters(t *testing.T) {
	type when int
	const (
		never when = iota
		atOnce
		fenced
	)
	annotated := func(value string, and func(*corev1.PodTemplateSpec)) func(*corev1.PodTemplateSpec) {
		return func(t *corev1.PodTemplateSpec) {
			t.Annotations = map[string]string{api.FencingAnnotation: value}
			and(t)
		}
	}
	plain := func(*corev1.PodTemplateSpec) {}
	for name, c := range map[string]struct {
		pod       func(*corev1.PodTemplateSpec)
		mode      corev1.PersistentVolumeAccessMode
		volume    string // the only node of the claim's volume
		unguarded bool
		want      when
	}{
		"many equal ones":       {pod: plain, want: atOnce},
		"one writer":            {pod: claiming("data"), mode: corev1.ReadWriteOnce, want: fenced},
		"one writing pod":       {pod: claiming("data"), mode: corev1.ReadWriteOncePod, want: fenced},
		"many writers":          {pod: claiming("data"), mode: corev1.ReadWriteMany, want: atOnce},
		"readers":               {pod: claiming("data"), mode: corev1.ReadOnlyMany, want: atOnce},
		"its volume stays":      {pod: claiming("data"), mode: corev1.ReadWriteOnce, volume: "n1", want: never},
		"its node does nothing": {pod: claiming("data"), mode: corev1.ReadWriteOnce, unguarded: true, want: never},
		"asked not to":          {pod: annotated("off", claiming("data")), mode: corev1.ReadWriteOnce, want: never},
		"asked to":              {pod: annotated("on", plain), want: fenced},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := fencedWorld(t)
			if c.mode != "" {
				w.put(Volumes, volumeOf(c.volume, c.mode))
				w.put(Claims, testClaim("data", "", "1Gi", c.mode))
			}
			w.addSet(c.pod)
			if !c.unguarded {
				w.guard()
			} else {
				w.tellStarted()
			}
			w.addNode("n2", "4", "110")
			old := w.only()
			w.dead["n1"] = true
			w.e.NodeDown("n1")
			w.settle()
			if got, want := w.only().UID != old.UID, c.want == atOnce; got != want {
				t.Errorf("replaced at once: %v", got)
			}
			w.pass(fencingWait - time.Millisecond)
			if got, want := w.only().UID != old.UID, c.want == atOnce; got != want {
				t.Errorf("replaced before it must have ended: %v", got)
			}
			w.pass(time.Millisecond)
			now := w.only()
			if got, want := now.UID != old.UID, c.want != never; got != want || want && now.Node != "n2" {
				t.Errorf("replaced in the end: %v, on %s", got, now.Node)
			}
			if got, want := len(w.said("Fenced")) > 0, c.want == fenced; got != want {
				t.Errorf("said: %v", w.said("Fenced"))
			}
		})
	}
}

// tellStarted says that a container was started, and nothing of a guard.
func (w *world) tellStarted() {
	p := w.only()
	next := *p
	s := p.DecodeStatus()
	s.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "peapod://1"}}
	b, _ := s.Marshal()
	_ = next.SetStatus(b)
	w.putRecord(p, &next)
	w.settle()
}

// A pod of which nothing was heard is replaced if its node fences in general.
func TestPodThatNeverSpoke(t *testing.T) {
	for _, fences := range []bool{true, false} {
		w, _ := fencedWorld(t)
		n := w.objects[ref{Nodes, "", "n1"}].obj.DeepCopyObject().(*corev1.Node)
		if fences {
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.NodeFencesAnnotation, "true")
		}
		w.put(Nodes, n)
		w.put(Volumes, volumeOf("", corev1.ReadWriteOnce))
		w.put(Claims, testClaim("data", "", "1Gi", corev1.ReadWriteOnce))
		w.dead["n1"] = true // the agent dies before it writes
		w.addSet(claiming("data"))
		w.addNode("n2", "4", "110")
		old := w.only()
		w.e.NodeDown("n1")
		w.settle()
		w.pass(fencingWait)
		if got := w.only().UID != old.UID; got != fences {
			t.Errorf("node fences: %v, the pod was replaced: %v", fences, got)
		}
	}
}

// A node that is back in time keeps its pod, and has leases again; one that somebody deletes loses it in the same time.
func TestNodesThatReturnOrGo(t *testing.T) {
	w, l := fencedWorld(t)
	w.put(Volumes, volumeOf("", corev1.ReadWriteOnce))
	w.put(Claims, testClaim("data", "", "1Gi", corev1.ReadWriteOnce))
	w.addSet(claiming("data"))
	w.guard()
	w.addNode("n2", "4", "110")
	old := w.only()
	w.e.NodeDown("n1")
	w.settle()
	if _, barred := l.barred["n1"]; !barred {
		t.Error("a dead node may have leases")
	}
	w.pass(fencingWait / 2)
	w.e.NodeUp("n1")
	w.settle()
	w.pass(fencingWait)
	if w.only().UID != old.UID || len(l.barred) > 0 {
		t.Errorf("back in time, its pod is %s, was %s, barred are %v", w.only().UID, old.UID, l.barred)
	}
	w.dead["n1"] = true
	w.erase(ref{Nodes, "", "n1"})
	w.pass(strayNodeGrace)
	w.pass(fencingWait)
	if w.only().UID == old.UID {
		t.Error("the pod of a deleted node is there for ever")
	}
}
