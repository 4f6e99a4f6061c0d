package rebalance

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// TestWhoMayMove: of pods crowded on one node only those are moved that somebody replaces without loss, and whose budget allows it.
func TestWhoMayMove(t *testing.T) {
	volume := func(v corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}} }
	}
	owned := func(kind string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.OwnerReferences[0].Kind = kind } }
	claim := func(name string) func(*corev1.Pod) {
		return volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
	}
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod)
		moves  bool
	}{
		{"plain", func(*corev1.Pod) {}, true},
		{"stateful", owned("StatefulSet"), true},
		{"replicated", owned("ReplicationController"), true},
		{"daemon", owned("DaemonSet"), false},
		{"job", owned("Job"), false},
		{"bare", func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		{"unready", func(p *corev1.Pod) { p.Status.Conditions = nil }, false},
		{"pinned", func(p *corev1.Pod) { p.Annotations = map[string]string{safeToEvict: "false"} }, false},
		{"system", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }, false},
		{"scratch", volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), false},
		{"host", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}), false},
		{"config", volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}), true},
		{"near", claim("near"), false},
		{"far", claim("far"), true},
		{"lost", claim("lost"), false},
		{"guarded", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "guarded"} }, false},
	} {
		f := fsm.New()
		list := []ops.Op{
			&ops.Put{Resource: reconcile.Namespaces, Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "ns"}}},
			smallNode("n1"), smallNode("n2"),
			&ops.Put{Resource: reconcile.Budgets, Object: &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
				Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}}}},
			boundClaim("near"), boundClaim("far"),
			&ops.Put{Resource: reconcile.Volumes, Object: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "near"}, Spec: corev1.PersistentVolumeSpec{
				NodeAffinity: &corev1.VolumeNodeAffinity{}}}},
			&ops.Put{Resource: reconcile.Volumes, Object: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "far"}}},
		}
		for _, suffix := range []string{"1", "2", "3", "4"} {
			p := readyPod(c.name+suffix, "n1")
			c.change(p)
			list = append(list, &ops.Put{Resource: reconcile.Pods, Object: p})
		}
		f.ApplyOps(1, list)
		got := New(f.View(), 100)
		if moved := len(got.Moves) == 2; moved != c.moves || !moved && len(got.Moves) > 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
		if held := map[bool]int{true: 4}[c.name == "guarded"]; got.Held != held {
			t.Errorf("%s: %d are held", c.name, got.Held)
		}
	}
}

// TestPodsThatGoCountNoMore: nodes that are even once what is being deleted has gone stay as they are, and those that will be uneven do not.
func TestPodsThatGoCountNoMore(t *testing.T) {
	for _, c := range []struct {
		going []string
		moves int
	}{{[]string{"a1", "a2"}, 0}, {[]string{"b1", "b2"}, 1}} {
		f := fsm.New()
		list := []ops.Op{&ops.Put{Resource: reconcile.Namespaces, Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "ns"}}},
			smallNode("a"), smallNode("b")}
		for _, name := range []string{"a1", "a2", "a3", "a4", "b1", "b2"} {
			p := readyPod(name, name[:1])
			if slices.Contains(c.going, name) {
				p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1_000_000_000, 0)}
			}
			list = append(list, &ops.Put{Resource: reconcile.Pods, Object: p})
		}
		f.ApplyOps(1, list)
		got := New(f.View(), 1)
		if len(got.Moves) != c.moves {
			t.Errorf("%v go: %+v", c.going, got)
		}
		for _, m := range got.Moves {
			if slices.Contains(c.going, m.Name) || m.From != "a" {
				t.Errorf("%v go: %+v", c.going, m)
			}
		}
	}
}

func readyPod(name, node string) *corev1.Pod {
	yes := true
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name),
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "o", UID: "o", Controller: &yes}}}, Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
}

// smallNode has two processors.
func smallNode(name string) *ops.Put {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name)}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return &ops.Put{Resource: reconcile.Nodes, Object: n}
}

func boundClaim(name string) *ops.Put {
	return &ops.Put{Resource: reconcile.Claims, Object: &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: name}}}
}
