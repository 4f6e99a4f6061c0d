package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

// TestStatefulPodsHaveNamesOfTheirOwn: what is a pod's own is in the pod, and nothing of its neighbour's.
func TestStatefulPodsHaveNamesOfTheirOwn(t *testing.T) {
	w := storageWorld(t, 3)
	s := testStatefulSet("db", 2)
	s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*testClaim("data", "local-path", "1Gi")}
	s.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "tmp"}}
	w.put(StatefulSets, s)
	w.converge()
	for _, n := range []string{"5", "6"} {
		p := w.podNamed("db-" + n)
		if p == nil {
			t.Fatalf("there is no db-%s: %v", n, w.images("db"))
		}
		spec, labels := p.Spec(), p.Labels()
		if spec.Hostname != "db-"+n || spec.Subdomain != "db" || labels[appsv1.StatefulSetPodNameLabel] != "db-"+n || labels[appsv1.PodIndexLabel] != n ||
			labels[appsv1.ControllerRevisionHashLabelKey] != w.statefulSet("db").Status.UpdateRevision || p.Template.Pod.GenerateName != "db-" {
			t.Errorf("db-%s: host %s.%s, labels %v", n, spec.Hostname, spec.Subdomain, labels)
		}
		if len(spec.Volumes) != 2 || spec.Volumes[0].PersistentVolumeClaim == nil || spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-"+n ||
			spec.Volumes[1].Name != "tmp" {
			t.Errorf("db-%s: volumes %v", n, spec.Volumes)
		}
		c := w.claim("data-db-" + n)
		if c.Status.Phase != corev1.ClaimBound || c.Labels["app"] != "db" || len(c.OwnerReferences) != 0 || p.Node == "" {
			t.Errorf("claim of db-%s: %+v, pod on %q", n, c, p.Node)
		}
	}
}

func retention(deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType) *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: deleted, WhenScaled: scaled}
}

// deleteObjectNow is a deletion in the background, by a user.
func (w *world) deleteNow(t failer, r ref) {
	if o := w.applyOne(&ops.Delete{Resource: r.gr, Namespace: r.ns, Name: r.name, Expect: ops.Any}); o[0] != ops.Applied {
		t.Fatalf("%v is not deleted: %v", r, o)
	}
}

func (w *world) claimNames() (out []string) {
	for _, o := range w.list(Claims) {
		out = append(out, o.name)
	}
	return out
}

func TestClaimsGoWithWhomTheyBelongTo(t *testing.T) {
	const keep, drop = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	for _, c := range []struct {
		deleted, scaled       appsv1.PersistentVolumeClaimRetentionPolicyType
		afterScale, afterward []string
	}{
		{keep, keep, []string{"data-db-0", "data-db-1", "data-db-2"}, []string{"data-db-0", "data-db-1", "data-db-2"}},
		{keep, drop, []string{"data-db-0"}, []string{"data-db-0"}},
		{drop, keep, []string{"data-db-0", "data-db-1", "data-db-2"}, nil},
		{drop, drop, []string{"data-db-0"}, nil},
	} {
		t.Run(fmt.Sprintf("%s-%s", c.deleted, c.scaled), func(t *testing.T) {
			w := storageWorld(t, 2)
			s := testStatefulSet("db", 3)
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*testClaim("data", "local-path", "1Gi")}
			s.Spec.PersistentVolumeClaimRetentionPolicy = retention(c.deleted, c.scaled)
			w.put(StatefulSets, s)
			w.converge()
			before := w.claim("data-db-2").UID
			w.changeSet(t, "statefulset", "db", "replicas", "1")
			w.converge()
			if got := w.claimNames(); !slices.Equal(got, c.afterScale) {
				t.Fatalf("after scaling there are %v", got)
			}
			w.changeSet(t, "statefulset", "db", "replicas", "3")
			w.converge()
			if p := w.podNamed("db-2"); p == nil || !p.Status.Ready() {
				t.Fatalf("db-2 is not back: %+v\n%s", p, strings.Join(w.trace, "\n"))
			}
			if same := w.claim("data-db-2").UID == before; same != (c.scaled == keep) {
				t.Fatalf("the claim of db-2 is the same one: %v", same)
			}
			w.changeSet(t, "statefulset", "db", "replicas", "1")
			w.converge()
			w.deleteNow(t, ref{StatefulSets, "default", "db"})
			w.converge()
			if got := w.claimNames(); !slices.Equal(got, c.afterward) {
				t.Fatalf("after the deletion there are %v", got)
			}
		})
	}
}

// A pod must not come while the claim that it would get is on its way out.
func TestPodWaitsForAClaimThatIsDeleting(t *testing.T) {
	w := storageWorld(t, 2)
	now := metav1.NewTime(w.now)
	old := testClaim("data-db-0", "local-path", "1Gi")
	old.DeletionTimestamp, old.Finalizers = &now, []string{"example.com/held"}
	w.put(Claims, old)
	s := testStatefulSet("db", 1)
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*testClaim("data", "local-path", "1Gi")}
	w.put(StatefulSets, s)
	w.converge()
	if w.podNamed("db-0") != nil || !strings.Contains(strings.Join(w.trace, "\n"), "create Pod db-0 in StatefulSet db failed error: pvc data-db-0 is being deleted") {
		t.Fatalf("the pod did not wait, or nothing is said:\n%s", strings.Join(w.trace, "\n"))
	}
	w.deleteNow(t, ref{Claims, "default", "data-db-0"})
	w.converge()
	if p := w.podNamed("db-0"); p == nil || !p.Status.Ready() {
		t.Fatal("the pod did not come once the claim was gone")
	}
}

func TestParallelPodsComeAndGoAtOnce(t *testing.T) {
	w := standardWorld(t, 1, 3)
	s := testStatefulSet("db", 30)
	s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	w.put(StatefulSets, s)
	w.settle()
	if n := len(w.images("db")); n != 30 {
		t.Fatalf("%d pods at once", n)
	}
	w.changeSet(t, "statefulset", "db", "replicas", "4")
	w.settle()
	if got := w.images("db"); len(got) != 4 || got[3] != "db-3=v1" {
		t.Fatalf("left are %v", got)
	}
	w.converge()
}

// Whatever is wrong with a pod's ending, its successor has its name. Nothing else moves meanwhile.
func TestEndedStatefulPodIsReplaced(t *testing.T) {
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		w := standardWorld(t, 1, 2)
		w.put(StatefulSets, testStatefulSet("db", 2))
		w.converge()
		old := w.podNamed("db-0")
		w.setStatus(old, phase, false)
		w.converge()
		if p := w.podNamed("db-0"); p == nil || p.UID == old.UID || !p.Status.Ready() {
			t.Errorf("after %s db-0 is %+v", phase, p)
		}
	}
}

// An ordered set stops at the first pod that is not well, whichever way it goes; what is broken is not renewed by itself.
func TestOrderedSetHaltsAtAnUnwellPod(t *testing.T) {
	w := standardWorld(t, 1, 3)
	w.put(StatefulSets, testStatefulSet("db", 3))
	w.converge()
	w.setStatus(w.podNamed("db-1"), corev1.PodRunning, false)
	w.changeSet(t, "statefulset", "db", "replicas", "5")
	w.settle()
	w.changeSet(t, "statefulset", "db", "image", "v2")
	w.settle()
	w.changeSet(t, "statefulset", "db", "replicas", "2")
	w.settle()
	if got := w.images("db"); !slices.Equal(got, []string{"db-0=v1", "db-1=v1", "db-2=v1"}) {
		t.Fatalf("with db-1 unwell there are %v", got)
	}
	w.setStatus(w.podNamed("db-1"), corev1.PodRunning, true)
	w.converge()
	if got := w.images("db"); !slices.Equal(got, []string{"db-0=v2", "db-1=v2"}) {
		t.Fatalf("in the end there are %v", got)
	}
}

// A parallel set whose pods are all broken is mended by a new template.
func TestBrokenParallelSetIsMended(t *testing.T) {
	w := standardWorld(t, 1, 3)
	s := testStatefulSet("db", 3)
	s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	w.put(StatefulSets, s)
	w.settle() // none is started
	w.changeSet(t, "statefulset", "db", "image", "v2")
	w.converge()
	if got := w.images("db"); !slices.Equal(got, []string{"db-0=v2", "db-1=v2", "db-2=v2"}) {
		t.Fatalf("there are %v", got)
	}
}

func TestStatefulSetOnDelete(t *testing.T) {
	w := standardWorld(t, 1, 3)
	s := testStatefulSet("db", 2)
	s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	w.put(StatefulSets, s)
	w.converge()
	w.changeSet(t, "statefulset", "db", "image", "v2")
	w.converge()
	w.deleteNamed("db-0", -1)
	w.converge()
	if got := w.images("db"); !slices.Equal(got, []string{"db-0=v2", "db-1=v1"}) {
		t.Fatalf("there are %v", got)
	}
}

// A pod of a StatefulSet on a dead node may still be running: nobody may take its name before it is gone.
func TestStatefulPodOfADeadNodeIsNotReplaced(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(StatefulSets, testStatefulSet("db", 1))
	w.converge()
	old := w.podNamed("db-0")
	w.dead[old.Node] = true
	w.e.NodeDown(old.Node)
	w.converge()
	if p := w.podNamed("db-0"); p == nil || p.UID != old.UID || p.Deleting() || w.statefulSet("db").Status.ReadyReplicas != 0 {
		t.Fatalf("db-0 is %+v, status %+v", p, w.statefulSet("db").Status)
	}
	w.deleteNamed("db-0", 0)
	w.converge()
	if p := w.podNamed("db-0"); p == nil || p.Node == old.Node || !p.Status.Ready() {
		t.Fatalf("after the deletion by force db-0 is %+v", p)
	}
}

func TestStatefulSetAdoptsAndReleases(t *testing.T) {
	w := standardWorld(t, 1, 2)
	for _, name := range []string{"db-0", "other"} {
		w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "db"}}, Spec: testPodSpec("v0")})
	}
	w.converge()
	uid := w.podNamed("db-0").UID
	s := testStatefulSet("db", 2)
	s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	w.put(StatefulSets, s)
	w.converge()
	p := w.podNamed("db-0")
	if p.UID != uid || p.Controller() == nil || p.Labels()[appsv1.StatefulSetPodNameLabel] != "db-0" || w.podNamed("other").Controller() != nil {
		t.Fatalf("db-0 is %+v with labels %v", p, p.Labels())
	}
	np := w.podNamed("db-1").Pod()
	np.Labels = map[string]string{"app": "no more"}
	w.put(Pods, np)
	w.converge()
	if p := w.podNamed("db-1"); p.Controller() != nil || w.statefulSet("db").Status.Replicas != 1 {
		t.Fatalf("db-1 is not let go: %+v", p.Template.Pod.ObjectMeta)
	}
	w.deleteNamed("db-1", 0) // whose name the set wants
	w.converge()
	if p := w.podNamed("db-1"); p == nil || p.Controller() == nil || !p.Status.Ready() {
		t.Fatalf("db-1 did not come when its name was free: %+v", p)
	}
}

func TestMinReadySecondsOfStatefulSet(t *testing.T) {
	w := standardWorld(t, 1, 2)
	s := testStatefulSet("db", 2)
	s.Spec.MinReadySeconds = 10
	w.put(StatefulSets, s)
	w.settle()
	w.work()
	w.settle()
	if got, st := w.images("db"), w.statefulSet("db").Status; len(got) != 1 || st.ReadyReplicas != 1 || st.AvailableReplicas != 0 {
		t.Fatalf("before the time there are %v, %+v", got, st)
	}
	_, next := w.e.Step(w.now)
	if want := w.now.Add(10 * time.Second); !next.Equal(want) {
		t.Fatalf("comes back at %v, not %v", next, want)
	}
	w.now = next
	w.settle()
	if got := w.images("db"); len(got) != 2 {
		t.Fatalf("after the time there are %v", got)
	}
}

// TestRevisionHistory: numbers grow, what nothing lives by goes, a revision that is wanted again becomes the last one.
func TestRevisionHistory(t *testing.T) {
	w := standardWorld(t, 1, 2)
	s := testStatefulSet("db", 1)
	two := int32(2)
	s.Spec.RevisionHistoryLimit = &two
	s.Annotations = map[string]string{"kubernetes.io/change-cause": "because"}
	w.put(StatefulSets, s)
	for _, image := range []string{"v1", "v2", "v3", "v4", "v5", "v3"} {
		w.changeSet(t, "statefulset", "db", "image", image)
		w.converge()
	}
	var numbers []int64
	for _, o := range w.list(ControllerRevisions) {
		r := asRevision(o)
		numbers = append(numbers, r.Revision)
		if r.Labels["app"] != "db" || r.Annotations["kubernetes.io/change-cause"] != "because" || !metav1.IsControlledBy(r, w.statefulSet("db")) {
			t.Errorf("revision %+v", r)
		}
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []int64{4, 5, 6}) {
		t.Fatalf("the revisions are %v", numbers)
	}
	if st := w.statefulSet("db").Status; st.CurrentRevision != st.UpdateRevision {
		t.Fatalf("status %+v", st)
	}
}

// A name that belongs to somebody else's revision is left alone.
func TestRevisionNamesCollide(t *testing.T) {
	w := standardWorld(t, 1, 1)
	s := testStatefulSet("db", 1)
	data, err := encodePatch(&s.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	other := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db-" + revisionHash(data, nil),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Other", Name: "o", UID: "u", Controller: &yes}}}}
	other.Data.Raw = []byte(`{"spec":{}}`)
	w.put(ControllerRevisions, other)
	w.put(StatefulSets, s)
	w.converge()
	if st := w.statefulSet("db").Status; st.CollisionCount == nil || *st.CollisionCount != 1 || st.UpdateRevision == other.Name || st.ReadyReplicas != 1 {
		t.Fatalf("status %+v", st)
	}
}
