package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// TestAnyStatefulSetConverges draws histories of one set and checks every step of the engine on the way: Invariants 32 and 38.
func TestAnyStatefulSetConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := storageWorld(t, 3)
		s := testStatefulSet("db", int32(rapid.IntRange(0, 5).Draw(t, "replicas")))
		if rapid.Bool().Draw(t, "parallel") {
			s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		}
		if rapid.Bool().Draw(t, "claims") {
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*testClaim("data", "local-path", "1Gi")}
			policies := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
			s.Spec.PersistentVolumeClaimRetentionPolicy = retention(rapid.SampledFrom(policies).Draw(t, "deleted"), rapid.SampledFrom(policies).Draw(t, "scaled"))
		}
		w.put(StatefulSets, s)
		w.watchStateful("db")
		stop := w.losing(t)
		for range rapid.IntRange(1, 15).Draw(t, "actions") {
			actStateful(t, w)
			if rapid.Bool().Draw(t, "settle") {
				w.settle()
			}
			if rapid.Bool().Draw(t, "work") {
				w.work()
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
		}
		stop()
		for _, n := range []string{"n1", "n2", "n3"} {
			delete(w.dead, n)
			w.e.NodeUp(n)
		}
		w.outlast()
		w.checkStateful(t)
		w.inherit()
	})
}

// checkStateful holds in the end: the pods that should be there are, and of the right template.
func (w *world) checkStateful(t failer) {
	s := w.statefulSet("db")
	n, partition := int(*s.Spec.Replicas), int(*s.Spec.UpdateStrategy.RollingUpdate.Partition)
	if got := w.images("db"); len(got) != n {
		t.Fatalf("%d pods are wanted, there are %v\n%s", n, got, strings.Join(w.trace, "\n"))
	}
	for i := range n {
		p := w.podNamed(fmt.Sprintf("db-%d", i))
		if p == nil || !p.Status.Ready() {
			t.Fatalf("db-%d is %+v", i, p)
		}
		if i >= partition && p.Spec().Containers[0].Image != s.Spec.Template.Spec.Containers[0].Image {
			t.Fatalf("db-%d runs %s", i, p.Spec().Containers[0].Image)
		}
	}
	if st := s.Status; int(st.Replicas) != n || int(st.ReadyReplicas) != n || int(st.AvailableReplicas) != n || st.ObservedGeneration != s.Generation ||
		partition == 0 && st.CurrentRevision != st.UpdateRevision {
		t.Fatalf("status %+v of %d", st, n)
	}
}

func actStateful(t *rapid.T, w *world) {
	switch rapid.SampledFrom([]string{"replicas", "image", "partition", "unavailable", "delete pod", "down", "up", "end pod", "sick", "claim"}).Draw(t, "action") {
	case "replicas":
		w.changeSet(t, "statefulset", "db", "replicas", fmt.Sprint(rapid.IntRange(0, 6).Draw(t, "to")))
	case "image":
		w.changeSet(t, "statefulset", "db", "image", fmt.Sprintf("v%d", rapid.IntRange(1, 4).Draw(t, "image")))
	case "partition":
		w.changeSet(t, "statefulset", "db", "partition", fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "to")))
	case "unavailable":
		w.changeSet(t, "statefulset", "db", "unavailable", rapid.SampledFrom([]string{"1", "2", "50%"}).Draw(t, "to"))
	case "delete pod":
		if p := pickOf(t, w, "db"); p != nil {
			w.deleteNamed(p.Name, rapid.SampledFrom([]int64{-1, 0}).Draw(t, "grace"))
		}
	case "down":
		node := fmt.Sprintf("n%d", rapid.IntRange(1, 3).Draw(t, "node"))
		w.dead[node] = true
		w.e.NodeDown(node)
	case "up":
		node := fmt.Sprintf("n%d", rapid.IntRange(1, 3).Draw(t, "node"))
		delete(w.dead, node)
		w.e.NodeUp(node)
	case "end pod", "sick":
		if p := pickOf(t, w, "db"); p != nil && p.Node != "" && !w.dead[p.Node] && !p.Terminal() {
			w.setStatus(p, rapid.SampledFrom([]corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded, corev1.PodRunning, corev1.PodPending}).Draw(t, "phase"), false)
		}
	case "claim":
		if names := w.claimNames(); len(names) > 0 {
			w.deleteNow(t, ref{Claims, "default", rapid.SampledFrom(names).Draw(t, "claim")})
		}
	}
}

func pickOf(t *rapid.T, w *world, app string) *api.PodRecord {
	mine := w.mine(app)
	if len(mine) == 0 {
		return nil
	}
	var uids []types.UID
	for uid := range mine {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return mine[rapid.SampledFrom(uids).Draw(t, "pod")]
}

// watchStateful checks what the engine wants to do before it is done. No name is given twice; an ordered set makes a pod only when all
// before it are well, and takes one away only when none after it is left; an update takes no more than it may, and nothing below the partition.
func (w *world) watchStateful(name string) {
	w.check = func(list []ops.Op) {
		s := w.statefulSet(name)
		ordered := s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
		n, deleted := int(*s.Spec.Replicas), 0
		well := func(i int) bool {
			p := w.podNamed(fmt.Sprintf("%s-%d", name, i))
			return p != nil && !p.Deleting() && p.Status.Ready() && !w.e.nodeDown(p.Node)
		}
		for _, op := range list {
			switch op := op.(type) {
			case *ops.PlanPods:
				for _, r := range op.Rows {
					var i int
					_, _ = fmt.Sscan(r.Suffix, &i)
					if w.podNamed(op.Template.GenerateName+r.Suffix) != nil || i >= n {
						w.t.Fatalf("pod %s is made: it exists or is too many\n%s", r.Suffix, strings.Join(w.trace, "\n"))
					}
					w.checkClaimsOf(s, op.Template.GenerateName+r.Suffix)
					for k := range i {
						if ordered && !well(k) {
							w.t.Fatalf("pod %d is made before %d is well\n%s", i, k, strings.Join(w.trace, "\n"))
						}
					}
				}
			case *ops.DeletePods:
				for _, r := range op.Rows {
					deleted += w.checkStatefulDelete(s, r, ordered, well)
				}
			}
		}
		if deleted == 0 {
			return
		}
		e := &ensemble{set: s, members: make([]*pod, n)}
		unwell := 0
		for i := range n {
			if !well(i) {
				unwell++
			}
		}
		if deleted+unwell > max(e.maxUnavailable(), unwell) {
			w.t.Fatalf("%d pods are not well and %d more would go, %d may be missing\n%s", unwell, deleted, e.maxUnavailable(), strings.Join(w.trace, "\n"))
		}
	}
}

// checkClaimsOf wants a new pod's claims to be there, and none of them to be about to go with the pod before.
func (w *world) checkClaimsOf(s *appsv1.StatefulSet, pod string) {
	for _, t := range s.Spec.VolumeClaimTemplates {
		o := w.objects[ref{Claims, s.Namespace, t.Name + "-" + pod}]
		if o == nil || o.meta.GetDeletionTimestamp() != nil || ownedByPod(o.meta, pod) {
			w.t.Fatalf("pod %s is made for a claim that is not there to stay\n%s", pod, strings.Join(w.trace, "\n"))
		}
	}
}

// checkStatefulDelete is 1 if an update takes away a pod that is well.
func (w *world) checkStatefulDelete(s *appsv1.StatefulSet, r ops.DeleteRow, ordered bool, well func(int) bool) int {
	p := w.podNamed(r.Name)
	if p == nil || p.Terminal() || r.Grace == 0 {
		return 0 // it has ended, or its node has
	}
	var i int
	_, _ = fmt.Sscan(strings.TrimPrefix(r.Name, s.Name+"-"), &i)
	if i < int(*s.Spec.Replicas) {
		if i < int(*s.Spec.UpdateStrategy.RollingUpdate.Partition) || p.Spec().Containers[0].Image == s.Spec.Template.Spec.Containers[0].Image {
			w.t.Fatalf("%s is renewed, though below the partition or of today's template\n%s", r.Name, strings.Join(w.trace, "\n"))
		}
		if well(i) {
			return 1
		}
		return 0
	}
	for k := i + 1; ordered && k < 10; k++ {
		if w.podNamed(fmt.Sprintf("%s-%d", s.Name, k)) != nil {
			w.t.Fatalf("%s goes before %d has\n%s", r.Name, k, strings.Join(w.trace, "\n"))
		}
	}
	return 0
}
