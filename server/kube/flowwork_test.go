package kube_test

import (
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/peapod-sh/peapod/server/kube"
)

// crowded says that there are n of every kind.
type crowded struct {
	kube.Store
	n int
}

func (c crowded) Snapshot(gr schema.GroupResource) kube.Snapshot {
	return crowd{c.Store.Snapshot(gr), c.n}
}

type crowd struct {
	kube.Snapshot
	n int
}

func (c crowd) Len() int { return c.n }

// TestListsTakePlacesForWhatTheyHold: whatever time it takes, a request takes one place of its priority level, and what answers with very many objects
// more of them; otherwise a few lists that wait for their clients would keep everybody else of the level out.
func TestListsTakePlacesForWhatTheyHold(t *testing.T) {
	for _, c := range []struct {
		verb, name string
		objects    int
		want       uint64
	}{
		{"list", "", 2000, 1},
		{"watch", "", 2000, 1},
		{"list", "", 12_500, 4},
		{"watch", "", 12_500, 4},
		{"list", "one", 12_500, 1},
		{"get", "one", 12_500, 1},
		{"create", "", 12_500, 1},
		{"delete", "one", 12_500, 1},
	} {
		h := start(t, func(k *kube.Config) { k.Store = crowded{k.Store, c.objects} })
		r, err := http.NewRequestWithContext(apirequest.WithRequestInfo(t.Context(), &apirequest.RequestInfo{IsResourceRequest: true, Verb: c.verb, Name: c.name, Resource: "configmaps"}), http.MethodGet, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.server.EstimateWork(r); got != c.want {
			t.Errorf("%s of %q with %d objects takes %d places, want %d", c.verb, c.name, c.objects, got, c.want)
		}
	}
}
