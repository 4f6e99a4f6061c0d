package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api/ops"
)

// checkRoom holds at every moment: what runs on a node, also what is still ending, has room there. Invariant 30.
func (w *world) checkRoom() {
	used := map[string]int64{}
	for _, p := range w.pods {
		if p.Node != "" && !p.Terminal() {
			used[p.Node] += p.Spec().Containers[0].Resources.Requests.Cpu().MilliValue()
		}
	}
	for node, n := range used {
		if o := w.objects[ref{Nodes, "", node}]; o != nil && n > o.obj.(*corev1.Node).Status.Allocatable.Cpu().MilliValue() {
			w.t.Fatalf("node %s has %d millicores taken\n%s", node, n, strings.Join(w.trace, "\n"))
		}
	}
}

// checkGangs: the pods of a gang that were bound in one step are enough with those that were there. Invariant 38.
func (w *world) checkGangs(list []ops.Op) {
	there, bound := map[string]int{}, map[string]int{}
	for _, p := range w.pods {
		if gang := gangOf(p.Template.Pod); gang != "" && p.Node != "" && !p.Deleting() {
			there[gang]++
		}
	}
	for _, op := range list {
		if b, ok := op.(*ops.BindPods); ok {
			for _, r := range b.Rows {
				if gang := gangOf(w.pods[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}].Template.Pod); gang != "" {
					bound[gang]++
				}
			}
		}
	}
	for gang, n := range bound {
		if n+there[gang] < 3 {
			w.t.Fatalf("%d of gang %s are bound beside %d\n%s", n, gang, there[gang], strings.Join(w.trace, "\n"))
		}
	}
}

// playCrowd does random things to pods of several priorities, alone and in gangs, and returns what happened.
func playCrowd(t *rapid.T, seed uint64, moves []int) []string {
	w := standardWorld(t, seed, 2)
	w.check = func(list []ops.Op) {
		w.checkRoom()
		w.checkGangs(list)
	}
	for i, m := range moves {
		switch m % 8 {
		case 0, 1, 2:
			w.addPod(fmt.Sprint("p", i), fmt.Sprint(1+m/8%3), int32(m/24%3), nil)
		case 3:
			for k := range 3 {
				w.addPod(fmt.Sprint("g", i, "-", k), fmt.Sprint(1+m/8%2), int32(m/16%3), func(p *corev1.Pod) {
					p.Annotations = map[string]string{GangName: fmt.Sprint("g", i), GangSize: "3"}
				})
			}
		case 4:
			w.work()
		case 5:
			names := slices.SortedFunc(maps.Keys(w.pods), func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
			if len(names) > 0 {
				k := names[m/8%len(names)]
				w.deletePod(w.now.Unix(), ops.DeleteRow{Namespace: k.Namespace, Name: k.Name, UID: w.pods[k].UID, Grace: -1})
			}
		case 6:
			w.addNode(fmt.Sprint("m", m/8%2), "4", "110")
		case 7:
			w.restart(seed + uint64(i))
		}
		w.settledFor(time.Second)
		w.checkRoom()
	}
	w.converge()
	w.checkRoom()
	return w.trace
}

// TestCrowds: whatever comes and goes, nodes are never overfull, gangs are whole, the engine comes to rest, and the same happens twice.
func TestCrowds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(1, 1000).Draw(t, "seed")
		moves := rapid.SliceOfN(rapid.IntRange(0, 999), 1, 25).Draw(t, "moves")
		if first, second := playCrowd(t, seed, moves), playCrowd(t, seed, moves); !slices.Equal(first, second) {
			t.Fatalf("first:\n%s\nsecond:\n%s", strings.Join(first, "\n"), strings.Join(second, "\n"))
		}
	})
}
