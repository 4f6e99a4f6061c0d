package sched

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

// Invariant 196: of many nodes a round looks at the best blocks only, and finds what it would find if it looked at all: whatever the pods ask of each
// other, whichever come and go and whatever becomes of the nodes.
func TestBestBlocksAreEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(topsNodesMin, topsNodesMin+100).Draw(t, "nodes")
		table := NewTable(7, LeastAllocated)
		put := func(i int, cpu string) {
			node := testNode(fmt.Sprint("n", i), cpu)
			node.Labels = map[string]string{corev1.LabelHostname: node.Name, corev1.LabelTopologyZone: fmt.Sprint("z", i%3)}
			if i%97 == 0 {
				delete(node.Labels, corev1.LabelTopologyZone)
			}
			if i%31 == 0 {
				node.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectPreferNoSchedule}}
			}
			table.SetNode(node)
		}
		for i := range n {
			put(i, []string{"8", "16", "32"}[i*7%3])
		}
		table.SetNamespace("default", nil)
		var placed []types.UID
		shapes := []func(*corev1.Pod){nil, hostApart, zoneSpread, hostSpread}
		for k := range rapid.IntRange(1, 8).Draw(t, "steps") {
			app := fmt.Sprint("app-", rapid.IntRange(0, 5).Draw(t, "app"))
			shape := rapid.SampledFrom(shapes).Draw(t, "shape")
			template := testTemplate(t, fmt.Sprintf("%dm", rapid.IntRange(0, 3000).Draw(t, "cpu")), func(p *corev1.Pod) {
				p.Labels, p.OwnerReferences[0].UID = map[string]string{"app": app}, types.UID(app)
				if shape != nil {
					shape(p)
				}
			})
			size := rapid.SampledFrom([]int{1, 3, 10, 60}).Draw(t, "size")
			if all, best := cellsOf(table, template, size, false), cellsOf(table, template, size, true); !slices.Equal(all, best) {
				t.Fatalf("step %d: %d keys of the best blocks, %d of all", k, len(best), len(all))
			}
			g := Group{Template: template}
			for i := range size {
				g.UIDs = append(g.UIDs, types.UID(fmt.Sprintf("%d-%d", k, i)))
			}
			table.Place(g)
			placed = append(placed, g.UIDs...)
			switch i := rapid.IntRange(0, n-1).Draw(t, "which"); rapid.IntRange(0, 3).Draw(t, "event") {
			case 0:
				table.RemoveNode(fmt.Sprint("n", i))
			case 1:
				put(i, "64")
			case 2:
				table.RemovePod(placed[i%len(placed)])
			}
		}
	})
}

// cellsOf are the keys of every cell for a group, sorted.
func cellsOf(t *Table, template *api.PodTemplate, size int, best bool) (out []string) {
	r := t.begin(classOf(template), nil)
	defer r.end()
	r.layOut(size)
	if best {
		r.fill()
	} else {
		f := filling{wants: r.wants()}
		if len(r.axes) == 0 {
			r.cells.begin(0)
		}
		r.fillAll(&f)
	}
	for k := range r.list {
		for _, key := range r.list[k].heap {
			out = append(out, fmt.Sprint(r.list[k].at, key))
		}
	}
	slices.Sort(out)
	return out
}
