package sched

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// Promise is AddPod for a pod that is to come to the node when others have gone from it, which it may never do: nobody else gets its room, and
// nobody is put there who must be apart from it, but nobody is put anywhere because it were there. It lasts until RemovePod or Keep.
func (t *Table) Promise(uid types.UID, node string, template *api.PodTemplate, status podstatus.Status) {
	t.AddPod(uid, node, template, status)
	t.promised[uid] = struct{}{}
}

// countPromised finds which of the pods that are counted are only promised.
func (r *round) countPromised(f *factor) {
	if len(r.t.promised) == 0 || f.use != spreads && f.use != meets {
		return
	}
	for uid := range r.t.promised {
		at := r.t.pods[uid]
		if at.kind == nil {
			continue
		}
		d, n := f.topo.domain[at.slot], r.shareOf(at.kind, f.census)
		if n == 0 || d == none || f.eligible != nil && !f.eligible.has(at.slot) {
			continue
		}
		if f.promised == nil {
			f.promised = r.t.scratch.column(len(f.total))
		}
		f.promised[d] += n
	}
	if f.use == meets && f.promised != nil {
		f.meetReal()
	}
}

// meetReal lets pods be near those only that are there. If there are none, the first of pods that want to be near one another goes where
// those like it are promised to be.
func (f *factor) meetReal() {
	var there int32
	for d, n := range f.total {
		there += n - f.promised[d]
	}
	if there == 0 && f.self > 0 {
		return
	}
	for d, n := range f.promised {
		f.total[d] -= n
	}
}

func (f *factor) promisedTo(d int32) int32 {
	if f.promised == nil {
		return 0
	}
	return f.promised[d]
}
