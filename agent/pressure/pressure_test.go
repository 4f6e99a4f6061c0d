package pressure

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	got, err := Parse(" memory.available<100Mi, nodefs.available<10% ")
	if err != nil || len(got) != 2 || got[0].value(1<<30) != 100<<20 || got[1].value(1000) != 100 {
		t.Errorf("read as %+v, %v", got, err)
	}
	if got, err := Parse(""); err != nil || len(got) != 0 {
		t.Errorf("nothing is read as %+v, %v", got, err)
	}
	if _, err := Parse(Defaults); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, bad := range []string{"memory.available", "memory<1Mi", "memory.available<x", "memory.available<101%", "memory.available<-1%", "memory.available>1Mi"} {
		if _, err := Parse(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Defaults)
	f.Add("memory.available<100Mi,,pid.available<1%")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Parse(s)
		for _, x := range list {
			if _, known := condition[x.Signal]; !known || err != nil {
				t.Errorf("%q: %+v, %v", s, x, err)
			}
		}
	})
}

// podUsing is a pod with one container that asked for some memory and uses some.
func podUsing(name string, priority int32, asked, used int64) Use {
	p := &corev1.Pod{Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c"}}}}
	p.Name = name
	if asked > 0 {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceMemory: *resource.NewQuantity(asked, resource.BinarySI), corev1.ResourceEphemeralStorage: *resource.NewQuantity(asked, resource.BinarySI)}
	}
	return Use{Pod: p, Memory: map[string]int64{"c": used}, Disk: map[string]int64{"c": used}, Processes: used}
}

func names(list []Use) string {
	var out []string
	for _, u := range list {
		out = append(out, u.Pod.Name)
	}
	return strings.Join(out, " ")
}

func TestWhoGoesFirst(t *testing.T) {
	list := []Use{
		podUsing("guaranteed", 0, 900, 800), podUsing("system", criticalPriority, 0, 9000), podUsing("small", 0, 0, 100),
		podUsing("important", 100, 0, 5000), podUsing("big", 0, 0, 700), podUsing("over", 0, 100, 500),
	}
	if got := names(rank(list, MemoryAvailable)); got != "big over small important guaranteed" {
		t.Errorf("for memory: %s", got)
	}
	list[2].Volumes = 5000
	if got := names(rank(list, NodefsAvailable)); got != "small big over important guaranteed" {
		t.Errorf("for disk: %s", got)
	}
	if got := names(rank(list, PIDAvailable)); got != "guaranteed big over small important" {
		t.Errorf("for processes: %s", got)
	}
}

// Whoever is within its requests is never before one who is not; among equals priority decides, then the excess.
func TestRankIsFair(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Use {
			return podUsing(rapid.StringMatching("[a-z]{5}").Draw(r, "name"), rapid.Int32Range(-2, 2).Draw(r, "priority"),
				rapid.Int64Range(0, 5).Draw(r, "asked"), rapid.Int64Range(0, 5).Draw(r, "used"))
		}), 0, 8).Draw(r, "pods")
		out := rank(list, MemoryAvailable)
		if len(out) != len(list) {
			r.Fatalf("%d of %d are left", len(out), len(list))
		}
		for i := 1; i < len(out); i++ {
			a, b := out[i-1], out[i]
			overA, overB := a.over(MemoryAvailable), b.over(MemoryAvailable)
			switch {
			case overA <= 0 && overB > 0:
				r.Fatalf("%+v goes before %+v, which is over its requests", a, b)
			case (overA > 0) == (overB > 0) && priority(a.Pod) > priority(b.Pod):
				r.Fatalf("%+v goes before the less important %+v", a, b)
			}
		}
	})
}

func TestMessage(t *testing.T) {
	limit := Threshold{Signal: MemoryAvailable, Quantity: resource.MustParse("100Mi")}
	got := podUsing("p", 0, 1<<20, 5<<20).message(MemoryAvailable, limit, Level{1 << 30, 52 << 20})
	want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. " +
		"Container c was using 5Mi, request is 1Mi, has larger consumption of memory. "
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = podUsing("p", 0, 0, 7).message(PIDAvailable, Threshold{Signal: PIDAvailable, Percent: 10}, Level{1000, 12})
	if got != "The node was low on resource: pids. Threshold quantity: 100, available: 12. " {
		t.Errorf("got %q", got)
	}
}

// machine is a node of 1000 bytes of memory and of disk.
type machine struct {
	memory, disk int64 // left
	rubbish      int64 // what Reclaim can free
	pods         []Use
	done         []string
}

func (m *machine) Levels() map[Signal]Level {
	return map[Signal]Level{MemoryAvailable: {1000, m.memory}, NodefsAvailable: {1000, m.disk}}
}
func (m *machine) Uses(context.Context, Signal) []Use { return m.pods }
func (m *machine) Reclaim(_ context.Context, bytes int64) int64 {
	m.done = append(m.done, "reclaim")
	freed := min(m.rubbish, bytes)
	m.rubbish, m.disk = m.rubbish-freed, m.disk+freed
	return freed
}
func (m *machine) Evict(_ context.Context, p *corev1.Pod, message string) {
	m.done = append(m.done, p.Name)
	i := slices.IndexFunc(m.pods, func(u Use) bool { return u.Pod == p })
	m.memory += m.pods[i].Memory["c"]
	m.disk += m.pods[i].Disk["c"]
	m.pods = slices.Delete(m.pods, i, i+1)
}

func manage(t *testing.T, m *machine, f func(*Manager)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		limits, err := Parse("memory.available<10%,nodefs.available<10%")
		if err != nil {
			t.Fatal(err)
		}
		x := New(m, limits, hclog.NewNullLogger())
		ctx, stop := context.WithCancel(t.Context())
		go x.Run(ctx)
		f(x)
		stop()
		synctest.Wait()
	})
}

func TestMemoryPressureEndsOnePodAtATime(t *testing.T) {
	m := &machine{memory: 500, disk: 500, pods: []Use{podUsing("a", 0, 0, 30), podUsing("b", 0, 0, 40), podUsing("c", 0, 0, 20)}}
	manage(t, m, func(x *Manager) {
		time.Sleep(65 * time.Second) // between two rounds
		if len(m.done) > 0 || x.Has(corev1.NodeMemoryPressure) {
			t.Errorf("a node at ease did %v", m.done)
		}
		m.memory = 35
		time.Sleep(10 * time.Second)
		if got := strings.Join(m.done, " "); got != "b" {
			t.Errorf("the first round ended %q", got)
		}
		if !x.Has(corev1.NodeMemoryPressure) || x.Has(corev1.NodeDiskPressure) {
			t.Error("the conditions are wrong")
		}
		select {
		case <-x.Changed():
		default:
			t.Error("nobody was told")
		}
		time.Sleep(time.Minute)
		if got := strings.Join(m.done, " "); got != "b a" {
			t.Errorf("it ended %q, and 105 bytes are enough", got)
		}
		time.Sleep(Lasting - 70*time.Second)
		if !x.Has(corev1.NodeMemoryPressure) {
			t.Error("the condition went too early")
		}
		time.Sleep(time.Minute)
		if x.Has(corev1.NodeMemoryPressure) {
			t.Error("the condition stays")
		}
	})
}

func TestDiskIsReclaimedBeforePodsAreEnded(t *testing.T) {
	m := &machine{memory: 500, disk: 50, rubbish: 30, pods: []Use{podUsing("a", 0, 0, 60)}}
	manage(t, m, func(x *Manager) {
		synctest.Wait()
		if got := strings.Join(m.done, " "); got != "reclaim a" {
			t.Errorf("with too little rubbish: %q", got)
		}
	})
	m = &machine{memory: 500, disk: 50, rubbish: 200, pods: []Use{podUsing("a", 0, 0, 60)}}
	manage(t, m, func(x *Manager) {
		time.Sleep(time.Minute)
		if got := strings.Join(m.done, " "); got != "reclaim" {
			t.Errorf("with enough rubbish: %q", got)
		}
		if !x.Has(corev1.NodeDiskPressure) {
			t.Error("the node does not say that its disk was full")
		}
	})
}

func TestWhoMayStartUnderPressure(t *testing.T) {
	m := &machine{memory: 5, disk: 500}
	manage(t, m, func(x *Manager) {
		synctest.Wait()
		plain := podUsing("p", 0, 0, 0).Pod
		if got := x.Refuses(plain, true); got != "The node had condition: [MemoryPressure]. " {
			t.Errorf("BestEffort: %q", got)
		}
		if got := x.Refuses(plain, false); got != "" {
			t.Errorf("Burstable: %q", got)
		}
		if got := x.Refuses(podUsing("p", criticalPriority, 0, 0).Pod, true); got != "" {
			t.Errorf("critical: %q", got)
		}
		tolerant := plain.DeepCopy()
		tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists}}
		if got := x.Refuses(tolerant, true); got != "" {
			t.Errorf("tolerant: %q", got)
		}
	})
}

func TestReadThisMachine(t *testing.T) {
	got := Read("/proc", t.TempDir(), "")
	for _, s := range []Signal{MemoryAvailable, PIDAvailable, NodefsAvailable} {
		if l := got[s]; l.Capacity <= 0 || l.Available <= 0 || l.Available > l.Capacity {
			t.Errorf("%s is %+v", s, l)
		}
	}
}
