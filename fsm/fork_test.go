package fsm

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

// TestForkIsAlone: Invariant 102. A fork begins as its origin, and what becomes of one changes nothing of the other.
func TestForkIsAlone(t *testing.T) {
	f := New()
	service := func(name, ip string) *ops.Put {
		return &ops.Put{Resource: services, Object: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u"},
			Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}}}, Expect: ops.Absent}
	}
	pods := func(suffix string) *ops.PlanPods {
		return &ops.PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", GenerateName: "p-"}}, Rows: []ops.PlanRow{{Suffix: suffix, UID: "u", Node: "n"}}}
	}
	f.ApplyOps(1, []ops.Op{service("a", "10.96.0.9"), pods("1"), &ops.PutMeta{Key: "k", Value: []byte("v")}})
	picture := func(f *FSM) string {
		var b bytes.Buffer
		if _, err := f.View().WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := picture(f)
	n := f.Fork()
	if picture(n) != before {
		t.Fatal("the fork begins otherwise")
	}
	if r := n.ApplyOps(2, []ops.Op{service("b", "10.96.0.9")}); r[0].Rows[0] != ops.Taken {
		t.Errorf("an address is taken in the origin: %v", r)
	}
	n.ApplyOps(3, []ops.Op{service("b", "10.96.0.10"), pods("2"), &ops.PutMeta{Key: "k", Value: []byte("w")}, &ops.Delete{Resource: services, Namespace: "ns", Name: "a", Expect: ops.Any}})
	if picture(f) != before || len(f.PodsOfNode("n")) != 1 || len(n.PodsOfNode("n")) != 2 {
		t.Error("the fork's changes are seen in the origin")
	}
	after := picture(n)
	f.ApplyOps(4, []ops.Op{pods("3"), service("c", "10.96.0.10")})
	if picture(n) != after {
		t.Error("the origin's changes are seen in the fork")
	}
}
