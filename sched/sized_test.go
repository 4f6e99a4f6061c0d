package sched

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

func cpu(milli int64) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
}

// resizing is a pod whose spec, allocation and cgroup may differ, all in thousandths of a CPU.
type resizing struct {
	asks, allocated, runs int64
	infeasible            bool
}

func (p resizing) status(t interface{ Fatal(...any) }) podstatus.Status {
	st := corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", AllocatedResources: cpu(p.allocated),
		Resources: &corev1.ResourceRequirements{Requests: cpu(p.runs)}}}}
	if p.infeasible {
		st.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible}}
	}
	b, err := st.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := podstatus.Compact(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAResizingPodCountsAsTheMostOfItself(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  resizing
		want int64
	}{
		{"nothing changes", resizing{asks: 500, allocated: 500, runs: 500}, 500},
		{"it grows", resizing{asks: 800, allocated: 500, runs: 500}, 800},
		{"it grows, and the node has agreed", resizing{asks: 800, allocated: 800, runs: 500}, 800},
		{"it shrinks", resizing{asks: 200, allocated: 500, runs: 500}, 500},
		{"it shrinks, and the node has agreed", resizing{asks: 200, allocated: 200, runs: 500}, 500},
		{"it has shrunk", resizing{asks: 200, allocated: 200, runs: 200}, 200},
		{"the node is too small", resizing{asks: 9000, allocated: 500, runs: 500, infeasible: true}, 500},
	} {
		table := NewTable(1, "")
		table.SetNode(testNode("n", "4"))
		table.AddPod("p", "n", testTemplate(t, fmt.Sprintf("%dm", c.pod.asks), nil), podstatus.Status{})
		freed := table.AddPod("p", "n", testTemplate(t, fmt.Sprintf("%dm", c.pod.asks), nil), c.pod.status(t))
		if got := used(table); got.cpuMilli != c.want || got.pods != 1 {
			t.Errorf("%s: the node counts %+v, want %d", c.name, got, c.want)
		}
		if want := c.want < c.pod.asks; freed != want {
			t.Errorf("%s: freed is %v", c.name, freed)
		}
		if table.RemovePod("p"); used(table) != (room{}) || table.rows[0].loadCPU != table.alloc[0].cpuMilli || table.rows[0].loadMemory != table.alloc[0].memory {
			t.Errorf("%s: %+v is left", c.name, used(table))
		}
	}
}

// What pods were given and what they run with is never more than their node has, while they are placed, resized and ended in any order.
// The node grants what fits into what it has granted, as agents do. Invariant 30.
func TestNoNodeIsOverThroughResizes(t *testing.T) {
	const whole = 1000
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable(3, "")
		table.SetNode(testNode("n", "1"))
		pods, templates := map[types.UID]*resizing{}, map[int64]*api.PodTemplate{}
		template := func(milli int64) *api.PodTemplate {
			if templates[milli] == nil {
				templates[milli] = testTemplate(t, fmt.Sprintf("%dm", milli), nil)
			}
			return templates[milli]
		}
		granted := func() (allocated, runs int64) {
			for _, p := range pods {
				allocated, runs = allocated+p.allocated, runs+max(p.runs, p.allocated)
			}
			return
		}
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			uid := types.UID(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "pod")))
			p := pods[uid]
			milli := int64(rapid.IntRange(1, 12).Draw(t, "milli") * 100)
			switch what := rapid.SampledFrom([]string{"ask", "grant", "grant", "apply", "apply", "end"}).Draw(t, "what"); {
			case p == nil:
				if table.Place(Group{Template: template(milli), UIDs: []types.UID{uid}}).Placed == 1 {
					pods[uid] = &resizing{asks: milli, allocated: milli, runs: milli}
				}
			case what == "ask":
				p.asks, p.infeasible = milli, false
			case what == "grant":
				all, _ := granted()
				if p.infeasible = p.asks > whole; all-p.allocated+p.asks <= whole {
					p.allocated = p.asks
				}
			case what == "apply":
				p.runs = p.allocated
			case what == "end":
				delete(pods, uid)
				table.RemovePod(uid)
			}
			if p := pods[uid]; p != nil {
				table.AddPod(uid, "n", template(p.asks), p.status(t))
			}
			if allocated, _ := granted(); allocated > whole {
				t.Fatalf("step %d: %d of %d are allocated", step, allocated, whole)
			}
			if _, most := granted(); used(table).cpuMilli < most {
				t.Fatalf("step %d: the scheduler counts %d, the pods have %d", step, used(table).cpuMilli, most)
			}
		}
	})
}

// used is what the pods of the only node take.
func used(t *Table) room {
	a, r := &t.alloc[0], &t.rows[0]
	return room{a.cpuMilli - r.cpuMilli, a.memory - r.memory, a.ephemeral - r.ephemeral, a.pods - int64(r.pods)}
}
