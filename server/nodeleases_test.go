package server

import (
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

func TestNodeLeases(t *testing.T) {
	state := fsm.New()
	put := func(o runtime.Object) {
		gr := leasesResource
		if _, isNode := o.(*corev1.Node); isNode {
			gr = nodesResource
		}
		state.ApplyOps(state.Index()+1, []ops.Op{&ops.Put{Resource: gr, Object: o, Expect: ops.Any}})
	}
	for _, n := range []string{"b", "a", "c", "silent"} {
		put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n, UID: "uid-of-" + "node"}})
	}
	for _, key := range [][2]string{{"default", "z"}, {"kube-node-lease", "b"}, {"kube-node-lease", "bb"}, {"zoo", "a"}} {
		holder := "somebody"
		put(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key[0], Name: key[1]}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}})
	}
	beat := time.Unix(1000, 5000)
	s := &leasedStore{&store{state: state}, func(n string) (time.Time, bool) { return beat, n != "silent" }}
	for from, want := range map[[2]string]string{
		{}:                            "[default/z kube-node-lease/a kube-node-lease/b kube-node-lease/bb kube-node-lease/c zoo/a]",
		{"kube-node-lease", ""}:       "[kube-node-lease/a kube-node-lease/b kube-node-lease/bb kube-node-lease/c zoo/a]",
		{"kube-node-lease", "b"}:      "[kube-node-lease/b kube-node-lease/bb kube-node-lease/c zoo/a]",
		{"kube-node-lease", "c"}:      "[kube-node-lease/c zoo/a]",
		{"kube-node-lease", "silent"}: "[zoo/a]",
	} {
		view := s.Snapshot(leasesResource)
		var got []string
		view.Ascend(from[0], from[1], func(ns, n string, _ runtime.Object) bool {
			got = append(got, ns+"/"+n)
			return true
		})
		if fmt.Sprint(got) != want {
			t.Errorf("from %v: %v, want %s", from, got, want)
		}
		for stop := range len(got) { // whoever has enough is left alone
			n := 0
			view.Ascend(from[0], from[1], func(string, string, runtime.Object) bool { n++; return n <= stop })
			if n != stop+1 {
				t.Errorf("from %v: %d came after %d were enough", from, n, stop+1)
			}
		}
	}
	o, ok := s.Get(leasesResource, "kube-node-lease", "a")
	if !ok {
		t.Fatal("node a has no lease")
	}
	if l := o.(*coordinationv1.Lease); *l.Spec.HolderIdentity != "a" || !l.Spec.RenewTime.Time.Equal(beat) || l.UID == "" || l.ResourceVersion == "" {
		t.Errorf("the lease of a is %v", l)
	}
	if o, _ := s.Get(leasesResource, "kube-node-lease", "b"); *o.(*coordinationv1.Lease).Spec.HolderIdentity != "somebody" {
		t.Error("what was written is hidden")
	}
	for _, none := range []string{"silent", "d"} {
		if _, ok := s.Get(leasesResource, "kube-node-lease", none); ok {
			t.Errorf("%s has a lease", none)
		}
	}
}
