package fsm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

var configMaps = schema.GroupResource{Resource: "configmaps"}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("u-" + name)}, Data: map[string]string{"v": value}}
}

var widgets = schema.GroupResource{Group: "shop.example", Resource: "widgets"}

// widget is an object of a kind that is not in the table.
func widget(name, value string) *api.Document {
	rest, _ := json.Marshal(map[string]any{"spec": map[string]any{"value": value}})
	return &api.Document{TypeMeta: metav1.TypeMeta{APIVersion: "shop.example/v1", Kind: "Widget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("w-" + name)}, Rest: rest}
}

func service(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: p})
	}
	return s
}

func template() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "web-", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "peapod/demo"}}}}
}

func uid(n int) types.UID { return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", n)) }

// history draws a random list of ops that exercises every kind, with names that collide on purpose.
func history(t *rapid.T) [][]ops.Op {
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	suffix := rapid.SampledFrom([]string{"x1", "x2", "x3", "x4"})
	node := rapid.SampledFrom([]string{"", "n1", "n2"})
	expect := rapid.SampledFrom([]uint64{ops.Absent, ops.Any, ops.Exists, 3, 7})
	n := 0
	one := rapid.Custom(func(t *rapid.T) ops.Op {
		n++
		switch rapid.IntRange(0, 10).Draw(t, "op") {
		case 0:
			return &ops.Put{Resource: configMaps, Object: configMap(name.Draw(t, "name"), rapid.String().Draw(t, "value")), Expect: expect.Draw(t, "expect")}
		case 1:
			return &ops.Delete{Resource: configMaps, Namespace: "default", Name: name.Draw(t, "name"), Expect: expect.Draw(t, "expect")}
		case 2:
			return &ops.PlanPods{Template: template(), Created: int64(n), Rows: []ops.PlanRow{
				{Suffix: suffix.Draw(t, "suffix"), UID: uid(n), Node: node.Draw(t, "node")}, {Suffix: suffix.Draw(t, "suffix"), UID: uid(1000 + n)}}}
		case 3:
			return &ops.BindPods{Now: int64(n), Rows: []ops.BindRow{{Namespace: "default", Name: "web-" + suffix.Draw(t, "suffix"), Node: "n1"}}}
		case 4:
			b, _ := (&corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}).Marshal()
			return &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "web-" + suffix.Draw(t, "suffix"), Status: b}}}
		case 5:
			return &ops.DeletePods{Now: int64(n), Rows: []ops.DeleteRow{{Namespace: "default", Name: "web-" + suffix.Draw(t, "suffix"), Grace: rapid.Int64Range(-1, 3).Draw(t, "grace")}}}
		case 6:
			return &ops.PutMeta{Key: name.Draw(t, "key"), Value: []byte{byte(n)}, IfAbsent: rapid.Bool().Draw(t, "absent")}
		case 7:
			return &ops.Put{Resource: services, Object: service(name.Draw(t, "name"), rapid.Int32Range(30000, 30003).Draw(t, "port")), Expect: ops.Any}
		case 8:
			return &ops.Put{Resource: widgets, Object: widget(name.Draw(t, "name"), rapid.String().Draw(t, "value")), Expect: expect.Draw(t, "expect")}
		case 9:
			return &ops.Delete{Resource: widgets, Namespace: "default", Name: name.Draw(t, "name"), Expect: expect.Draw(t, "expect")}
		default:
			p := template()
			p.Name, p.UID, p.GenerateName = "web-"+suffix.Draw(t, "suffix"), uid(n), ""
			return &ops.Put{Resource: Pods, Object: p, Expect: expect.Draw(t, "expect")}
		}
	})
	return rapid.SliceOfN(rapid.SliceOfN(one, 1, 4), 1, 30).Draw(t, "history")
}

func replay(t *rapid.T, entries [][]byte) *FSM {
	f := New()
	for i, e := range entries {
		f.Apply(uint64(i+1), e)
	}
	return f
}

func snapshot(t *rapid.T, f *FSM) []byte {
	var b bytes.Buffer
	if _, err := f.View().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Invariants 1 and 2: the same log gives the same bytes, and a restored snapshot is the same state.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var entries [][]byte
		for _, list := range history(t) {
			b, err := ops.Encode(list)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, b)
		}
		f := replay(t, entries)
		first, second := snapshot(t, f), snapshot(t, replay(t, entries))
		if !bytes.Equal(first, second) {
			t.Fatal("the same log gave two different snapshots")
		}
		g := New()
		if err := g.Restore(bytes.NewReader(first)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, snapshot(t, g)) {
			t.Fatal("a restored state is another state")
		}
		if diff := cmp.Diff(f.unique, g.unique, cmp.AllowUnexported(uniqueIndex{})); diff != "" {
			t.Fatalf("the index of unique values differs after a restore:\n%s", diff)
		}
		if len(f.podIndex) != len(g.podIndex) {
			t.Fatalf("the index by node has %d nodes, and %d after a restore", len(f.podIndex), len(g.podIndex))
		}
	})
}

// Invariant 3: revisions grow by one a change; whoever watches from any revision on sees exactly the
// changes after it, and they lead from the state then to the state now.
func TestWatchResumesAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		_, tail := f.TailAll(func(*api.Change) bool { return true })
		defer tail.Close()
		for i, list := range history(t) {
			f.ApplyOps(uint64(i+1), list)
		}
		changes, err := tail.Take()
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(changes); i++ {
			if changes[i].Revision <= changes[i-1].Revision {
				t.Fatalf("revision %d follows %d", changes[i].Revision, changes[i-1].Revision)
			}
		}
		checkCursor(t, f, changes)
		checkFinal(t, f, changes)
	})
}

func checkCursor(t *rapid.T, f *FSM, all []*api.Change) {
	from := rapid.Uint64Range(1, f.Revision()).Draw(t, "from")
	var want []uint64
	for _, c := range all {
		if c.Resource == configMaps && c.Revision > from {
			want = append(want, c.Revision)
		}
	}
	cur, err := f.Watch(configMaps, from)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for len(got) < len(want) {
		batch, err := cur.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range batch {
			got = append(got, c.Revision)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("watching from %d (-want +got):\n%s", from, diff)
	}
}

func checkFinal(t *rapid.T, f *FSM, all []*api.Change) {
	model := map[string]uint64{}
	for _, c := range all {
		key := c.Resource.String() + "/" + c.Name
		if c.Deleted() {
			delete(model, key)
		} else {
			model[key] = c.Revision
		}
	}
	got := map[string]uint64{}
	for c := range f.View().Objects {
		got[c.Resource.String()+"/"+c.Name] = c.Revision
	}
	for p := range f.View().Pods {
		got[Pods.String()+"/"+p.Name] = p.Revision
	}
	if diff := cmp.Diff(model, got); diff != "" {
		t.Fatalf("the changes do not lead to the state (-changes +state):\n%s", diff)
	}
}

// TestViewNeverChanges: Invariant 4.
func TestViewNeverChanges(t *testing.T) {
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "1"), Expect: ops.Absent}})
	v := f.View()
	f.ApplyOps(2, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "2"), Expect: ops.Any},
		&ops.Put{Resource: configMaps, Object: configMap("b", "2"), Expect: ops.Any}})
	if n := v.Table(configMaps).Len(); n != 1 {
		t.Errorf("the view has %d objects, want 1", n)
	}
	obj, _ := v.Table(configMaps).Get("default", "a")
	if got := obj.(*corev1.ConfigMap).Data["v"]; got != "1" {
		t.Errorf("the view shows value %q, want 1", got)
	}
}

// TestUniqueValues: Invariant 5.
func TestUniqueValues(t *testing.T) {
	f := New()
	put := func(s *corev1.Service) ops.Result {
		return f.ApplyOps(f.Index()+1, []ops.Op{&ops.Put{Resource: services, Object: s, Expect: ops.Any}})[0]
	}
	if r := put(service("a", 30001)); !r.OK() {
		t.Fatalf("first service: %+v", r)
	}
	r := put(service("b", 30001))
	if r.Rows[0] != ops.Taken || r.Detail != "node port 30001/tcp is already allocated to service default/a" {
		t.Errorf("a double node port gave %+v", r)
	}
	if r := put(service("a", 30002)); !r.OK() {
		t.Fatalf("moving a: %+v", r)
	}
	if r := put(service("b", 30001)); !r.OK() {
		t.Errorf("a port given up is still taken: %+v", r)
	}
	f.ApplyOps(9, []ops.Op{&ops.Delete{Resource: services, Namespace: "default", Name: "a", Expect: ops.Any}})
	if r := put(service("c", 30002)); !r.OK() {
		t.Errorf("a deleted service's port is still taken: %+v", r)
	}
}

func TestPodDeletion(t *testing.T) {
	long := int64(30)
	for _, c := range []struct {
		name      string
		node      string
		grace     int64
		finalizer bool
		gone      bool
		deletion  int64
	}{
		{"unscheduled goes at once", "", -1, false, true, 0},
		{"own grace", "n1", -1, false, false, 130},
		{"asked grace", "n1", 5, false, false, 105},
		{"force", "n1", 0, false, true, 0},
		{"force with finalizer stays", "n1", 0, true, false, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := New()
			tmpl := template()
			tmpl.Spec.TerminationGracePeriodSeconds = &long
			if c.finalizer {
				tmpl.Finalizers = []string{"example.com/hold"}
			}
			f.ApplyOps(1, []ops.Op{&ops.PlanPods{Template: tmpl, Created: 1, Rows: []ops.PlanRow{{Suffix: "x", UID: uid(1), Node: c.node}}}})
			f.ApplyOps(2, []ops.Op{&ops.DeletePods{Now: 100, Rows: []ops.DeleteRow{{Namespace: "default", Name: "web-x", UID: uid(1), Grace: c.grace}}}})
			rec, ok := f.Pod("default", "web-x")
			if ok == c.gone {
				t.Fatalf("there: %v, want %v", ok, !c.gone)
			}
			if ok && rec.DeletionTime != c.deletion {
				t.Errorf("deletion time %d, want %d", rec.DeletionTime, c.deletion)
			}
		})
	}
}

// A status that a node wrote before it heard of the pod's end does not bring the pod back to life.
func TestATerminalPhaseIsFinal(t *testing.T) {
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.PlanPods{Template: template(), Created: 1, Rows: []ops.PlanRow{{Suffix: "x", UID: uid(1), Node: "n1"}}}})
	say := func(index uint64, phase corev1.PodPhase) ops.Outcome {
		b, err := (&corev1.PodStatus{Phase: phase, Reason: fmt.Sprint(index)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		row := ops.StatusRow{Namespace: "default", Name: "web-x", UID: uid(1), Status: b}
		return f.ApplyOps(index, []ops.Op{&ops.PodStatuses{Rows: []ops.StatusRow{row}}})[0].Rows[0]
	}
	for i, c := range []struct {
		phase corev1.PodPhase
		want  ops.Outcome
		after corev1.PodPhase
	}{
		{corev1.PodRunning, ops.Applied, corev1.PodRunning},
		{corev1.PodFailed, ops.Applied, corev1.PodFailed},
		{corev1.PodRunning, ops.Conflict, corev1.PodFailed},
		{corev1.PodFailed, ops.Applied, corev1.PodFailed},
	} {
		if got := say(uint64(2+i), c.phase); got != c.want {
			t.Errorf("step %d: %v, want %v", i, got, c.want)
		}
		if rec, _ := f.Pod("default", "web-x"); rec.Phase() != c.after {
			t.Errorf("step %d: %s, want %s", i, rec.Phase(), c.after)
		}
	}
}

func TestPodsShareTemplates(t *testing.T) {
	f := New()
	for i := range 3 {
		f.ApplyOps(uint64(i+1), []ops.Op{&ops.PlanPods{Template: template(), Created: 1, Rows: []ops.PlanRow{{Suffix: strconv.Itoa(i), UID: uid(i), Node: "n1"}}}})
	}
	a, _ := f.Pod("default", "web-0")
	b, _ := f.Pod("default", "web-2")
	if a.Template != b.Template {
		t.Error("pods of equal plans have templates of their own")
	}
	if got := len(f.PodsOfNode("n1")); got != 3 {
		t.Errorf("node n1 has %d pods, want 3", got)
	}
}

// A pod written whole reads back as it was written.
func TestPodRoundTrip(t *testing.T) {
	grace, deleted := int64(7), metav1.Unix(500, 0)
	p := template()
	p.Name, p.UID, p.Generation = "solo", uid(1), 3
	p.CreationTimestamp, p.DeletionTimestamp, p.DeletionGracePeriodSeconds = metav1.Unix(400, 0), &deleted, &grace
	p.Spec.NodeName = "n2"
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.1.1"}
	want := p.DeepCopy()
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.Put{Resource: Pods, Object: p, Expect: ops.Absent}})
	got, _ := f.Get(Pods, "default", "solo")
	want.ResourceVersion = strconv.FormatUint(f.Revision(), 10)
	if diff := cmp.Diff(runtime.Object(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An agent's tail has exactly the changes of its nodes' pods, of the tables that it asks for, and in their order.
func TestTailOfNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		_, all := f.TailAll(func(*api.Change) bool { return true })
		defer all.Close()
		mine := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"n1", "n2", "n3", "none"}), rapid.ID).Draw(t, "nodes")
		_, other, another := f.TailNodes(Following{Nodes: []string{"n1", "n2"}, Also: func(*api.Change) bool { return false }})
		if len(other) != 0 {
			t.Fatal("pods of an empty state")
		}
		also := func(c *api.Change) bool { return c.Resource == configMaps }
		_, _, tail := f.TailNodes(Following{Nodes: mine, Also: also})
		defer tail.Close()
		for i, list := range history(t) {
			f.ApplyOps(uint64(i+1), list)
			if i == 1 {
				another.Close()
			}
		}
		changes, err := all.Take()
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(changes, func(c *api.Change) bool {
			if c.Resource != Pods {
				return !also(c)
			}
			return !slices.Contains(mine, nodeOf(c.OldPod)) && !slices.Contains(mine, nodeOf(c.NewPod))
		})
		got, err := tail.Take()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("the tail of %v has %d changes, want %d (%v)", mine, len(got), len(want), err)
		}
		select {
		case <-tail.Ready():
		default:
			if len(want) > 0 {
				t.Fatal("nobody was told of the changes")
			}
		}
	})
}

func TestRestoreCutsWatchersOff(t *testing.T) {
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "1"), Expect: ops.Any}})
	var b bytes.Buffer
	if _, err := f.View().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	cur, err := f.Watch(configMaps, f.Revision())
	if err != nil {
		t.Fatal(err)
	}
	_, tail := f.TailAll(func(*api.Change) bool { return true })
	defer tail.Close()
	if err := f.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := cur.Next(context.Background()); !errors.Is(err, ErrTooOld) {
		t.Errorf("the old cursor says %v, want ErrTooOld", err)
	}
	if _, err := tail.Take(); !errors.Is(err, ErrOverflow) {
		t.Errorf("the old tail says %v, want ErrOverflow", err)
	}
	fresh, err := f.Watch(configMaps, f.Revision())
	if err != nil {
		t.Fatal(err)
	}
	f.ApplyOps(3, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "2"), Expect: ops.Any}})
	changes, err := fresh.Next(context.Background())
	if err != nil || len(changes) != 1 {
		t.Errorf("a new cursor got %d changes, %v", len(changes), err)
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	f := New()
	f.ApplyOps(1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "1"), Expect: ops.Any}})
	var b bytes.Buffer
	if _, err := f.View().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for cut := range b.Len() {
		g := New()
		if err := g.Restore(bytes.NewReader(b.Bytes()[:cut])); err == nil {
			t.Fatalf("a snapshot cut after %d of %d bytes was taken", cut, b.Len())
		}
	}
}

func TestRingBound(t *testing.T) {
	f := New()
	for i := range ringEventsMax + 10 {
		f.ApplyOps(uint64(i+1), []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", strconv.Itoa(i)), Expect: ops.Any}})
	}
	if _, err := f.Watch(configMaps, 1); !errors.Is(err, ErrTooOld) {
		t.Errorf("watching from the beginning says %v, want ErrTooOld", err)
	}
	if _, err := f.Watch(configMaps, f.Revision()-ringEventsMax); err != nil {
		t.Errorf("watching from the oldest kept change says %v", err)
	}
	f.Trim()
	if _, err := f.Watch(configMaps, f.Revision()-ringEventsKeep-1); !errors.Is(err, ErrTooOld) {
		t.Errorf("after a trim an old watch says %v, want ErrTooOld", err)
	}
}

// Stored objects carry their revision.
func TestResourceVersion(t *testing.T) {
	f := New()
	r := f.ApplyOps(1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap("a", "1"), Expect: ops.Absent}})
	obj, _ := f.Get(configMaps, "default", "a")
	m, err := meta.Accessor(obj)
	if err != nil || m.GetResourceVersion() != strconv.FormatUint(r[0].Revision, 10) {
		t.Errorf("resourceVersion %q, result says %d, %v", m.GetResourceVersion(), r[0].Revision, err)
	}
}
