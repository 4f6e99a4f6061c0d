package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/wire"
)

var servicesResource = schema.GroupResource{Resource: "services"}

// knower is a node's knowledge, by what its watch has told it.
type knower struct {
	told    map[string]string // resource, namespace and name -> UID and revision
	resumed bool
	highest uint64 // revision of a change that was told since the watch was resumed
	fault   string
}

func (k *knower) Queue(message any) error {
	e := message.(*wire.Event)
	key := e.Resource + " " + e.Namespace + "/" + e.Name
	switch e.Type {
	case wire.EventResumed:
		k.resumed = true
	case wire.EventPut:
		k.told[key] = fmt.Sprintf("%s %d", e.UID, e.Revision)
	case wire.EventDeleted:
		delete(k.told, key)
	}
	if k.resumed && e.Revision < k.highest {
		k.fault = fmt.Sprintf("%s as of %d was told after a change of %d", key, e.Revision, k.highest)
	}
	k.highest = max(k.highest, e.Revision)
	return nil
}

// changing draws changes of all that a node follows.
func changing(t *rapid.T, uid *int) ops.Op {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	*uid++
	meta := metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(fmt.Sprint("u", *uid))}
	put := func(gr schema.GroupResource, o runtime.Object) ops.Op {
		if rapid.IntRange(0, 2).Draw(t, "deleted") == 0 {
			return &ops.Delete{Resource: gr, Namespace: o.(metav1.Object).GetNamespace(), Name: o.(metav1.Object).GetName(), Expect: ops.Any}
		}
		return &ops.Put{Resource: gr, Object: o, Expect: ops.Any}
	}
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return put(servicesResource, &corev1.Service{ObjectMeta: meta})
	case 1:
		return put(fsm.Policies, &networkingv1.NetworkPolicy{ObjectMeta: meta})
	case 2:
		meta.Namespace = ""
		return put(volumesResource, localVolume(meta, rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")))
	case 3:
		return &ops.DeletePods{Now: 1, Rows: []ops.DeleteRow{{Namespace: "default", Name: "p-" + name}}}
	case 4:
		st := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}
		if rapid.Bool().Draw(t, "ended") {
			st.Phase = corev1.PodSucceeded
		}
		b, _ := st.Marshal()
		return &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "p-" + name, Status: b}}}
	}
	return &ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
		Created: 1, Rows: []ops.PlanRow{{Suffix: name, UID: meta.UID, Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")}}}
}

// localVolume is a directory of one node, for good.
func localVolume(meta metav1.ObjectMeta, node string) *corev1.PersistentVolume {
	meta.Name += "-" + node
	meta.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": api.LocalPathProvisioner}
	v := &corev1.PersistentVolume{ObjectMeta: meta}
	v.Spec.Local = &corev1.LocalVolumeSource{Path: "/d"}
	v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	return v
}

// Invariant 160: a watch that goes on from a revision, on a server that has not served it before, leaves a node with what one that begins would tell it;
// and what it tells comes in the order of revisions, so that it can be resumed in the middle, too.
func TestAResumedWatchTellsWhatWasMissed(t *testing.T) {
	resumed := 0
	rapid.Check(t, func(t *rapid.T) {
		s := &Server{state: fsm.New()}
		wanted := map[schema.GroupResource]bool{fsm.Pods: true, servicesResource: true, volumesResource: true}
		if rapid.Bool().Draw(t, "policies") {
			wanted[fsm.Policies], wanted[podAddresses] = true, true
		}
		uid, index := 0, uint64(0)
		advance := func() {
			for range rapid.IntRange(0, 12).Draw(t, "changes") {
				index++
				s.state.ApplyOps(index, []ops.Op{changing(t, &uid)})
			}
		}
		watch := func(k *knower, since uint64) uint64 {
			view, pods, tail := s.state.TailNodes(fsm.Following{Nodes: []string{"n1"}, Also: func(*api.Change) bool { return false }})
			tail.Close()
			w := &nodeWatch{stream: k, nodes: map[string]bool{"n1": true}, moves: wanted[podAddresses], policies: view.Table(fsm.Policies).Len(), now: s.state.View}
			k.resumed, k.highest = false, 0
			if list, ok := s.missed(w, "n1", since, wanted, view, pods); ok {
				s.resume(w, since, list, false)
				resumed++
			} else {
				clear(k.told)
				s.putAll(w, "n1", wanted, view, pods)
			}
			if w.err != nil || k.fault != "" {
				t.Fatal(w.err, k.fault)
			}
			return view.Revision()
		}
		k := &knower{told: map[string]string{}}
		advance()
		known := watch(k, 0)
		for range 3 {
			advance()
			known = watch(k, known)
			fresh := &knower{told: map[string]string{}}
			watch(fresh, 0)
			if diff := cmp.Diff(fresh.told, k.told); diff != "" {
				t.Fatalf("a watch that begins tells this (-), one that goes on that (+):\n%s", diff)
			}
		}
	})
	if resumed == 0 {
		t.Error("no watch was resumed")
	}
}

// What was deleted so long ago that it is forgotten cannot be told: then the watch begins anew.
func TestAWatchBeginsAnewAfterTooMuch(t *testing.T) {
	s := &Server{state: fsm.New()}
	wanted := map[schema.GroupResource]bool{servicesResource: true}
	since := s.state.Revision()
	var list []ops.Op
	for i := range 20_000 {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint(i)}}
		list = append(list, &ops.Put{Resource: servicesResource, Object: svc, Expect: ops.Absent}, &ops.Delete{Resource: servicesResource, Namespace: "default", Name: svc.Name, Expect: ops.Any})
	}
	s.state.ApplyOps(1, list[:20_000])
	middle := s.state.Revision()
	s.state.ApplyOps(2, list[20_000:])
	w := &nodeWatch{nodes: map[string]bool{}}
	if _, ok := s.missed(w, "n1", since, wanted, s.state.View(), nil); ok {
		t.Error("a watch goes on although deletions are forgotten")
	}
	if got, ok := s.missed(w, "n1", middle, wanted, s.state.View(), nil); !ok || len(got) != 10_000 {
		t.Errorf("%d deletions, %v", len(got), ok)
	}
	if _, ok := s.missed(w, "n1", 0, wanted, s.state.View(), nil); ok {
		t.Error("a watch goes on that has never been")
	}
}

// A fleet hears only of pods about which it has something to do.
func TestAFleetHearsOfWhatIsToBeDone(t *testing.T) {
	s := &Server{state: fsm.New()}
	running, _ := (&corev1.PodStatus{Phase: corev1.PodRunning}).Marshal()
	plan := &ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}, Created: 1}
	for _, name := range []string{"new", "up", "ending"} {
		plan.Rows = append(plan.Rows, ops.PlanRow{Suffix: name, UID: types.UID(name), Node: "sim-1"})
	}
	s.state.ApplyOps(1, []ops.Op{plan, &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "p-up", Status: running}, {Namespace: "default", Name: "p-ending", Status: running}}},
		&ops.DeletePods{Now: 1, Rows: []ops.DeleteRow{{Namespace: "default", Name: "p-ending", Grace: -1}}}})
	view, pods, tail := s.state.TailNodes(fsm.Following{Nodes: []string{"sim-1"}, Pods: func(c *api.Change) bool { return concernsFleet(c.NewPod) }, Also: func(*api.Change) bool { return false }})
	defer tail.Close()
	k := &knower{told: map[string]string{}}
	w := &nodeWatch{stream: k, fleet: true, nodes: map[string]bool{"sim-1": true}}
	s.putAll(w, "sim", map[schema.GroupResource]bool{fsm.Pods: true}, view, pods)
	if got := slices.Sorted(maps.Keys(k.told)); !slices.Equal(got, []string{"pods default/p-ending", "pods default/p-new"}) {
		t.Error("told of", got)
	}
	s.state.ApplyOps(2, []ops.Op{&ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "p-new", Status: running}}}})
	s.state.ApplyOps(3, []ops.Op{&ops.DeletePods{Now: 1, Rows: []ops.DeleteRow{{Namespace: "default", Name: "p-new", Grace: -1}}}})
	changes, err := tail.Next(context.Background())
	if err != nil || len(changes) != 1 || !changes[0].NewPod.Deleting() {
		t.Errorf("%d changes, %v", len(changes), err)
	}
}
