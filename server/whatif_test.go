package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/kube"
)

// small is a state with nodes of two processors each.
func small(t *testing.T, nodes int) *fsm.FSM {
	t.Helper()
	f := fsm.New()
	list := []ops.Op{&ops.Put{Resource: reconcile.Namespaces, Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "ns"}}}}
	for i := range nodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i+1), UID: types.UID(fmt.Sprint("node", i))}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		list = append(list, &ops.Put{Resource: reconcile.Nodes, Object: n})
	}
	f.ApplyOps(1, list)
	return f
}

// webDeployment is as a dry run answers it: another spec is another generation.
func webDeployment(replicas int32, cpu, image string) *appsv1.Deployment {
	labels, quarter := map[string]string{"app": "web"}, intstr.FromString("25%")
	return &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web", Generation: int64(replicas)<<8 + int64(image[0])},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}}}}}
}

// ask plays a question on a fork of the state, or, with really, on the state itself.
func ask(t *testing.T, f *fsm.FSM, q *WhatIf, really bool) *Outlook {
	t.Helper()
	list, err := q.ops()
	if err != nil {
		t.Fatal(err)
	}
	if !really {
		f = f.Fork()
	}
	asked := func(p *corev1.Pod, facts reconcile.Facts) bool { return kube.PodsAsked(p, facts) }
	p := newPlay(f, reconcile.New(reconcile.Config{Seed: 7, Asked: asked}), time.Unix(1_700_000_000, 0))
	defer p.tail.Close()
	out, err := p.run(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func question(t *testing.T, d *appsv1.Deployment) *WhatIf {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return &WhatIf{Objects: []json.RawMessage{raw}}
}

func total(list []PodGroup) (n int) {
	for _, g := range list {
		n += g.Pods
	}
	return n
}

// TestWhatIf: Invariant 102. It asks one question after the other, each about the state that the one before has left.
func TestWhatIf(t *testing.T) {
	f := small(t, 2)
	for _, c := range []struct {
		what                string
		q                   *WhatIf
		start, waiting, end int
		reason              string
	}{
		{"a new workload", question(t, webDeployment(4, "500m", "a")), 4, 0, 0, ""},
		{"the same again", question(t, webDeployment(4, "500m", "a")), 0, 0, 0, ""},
		{"another image: every pod is replaced, in turns", question(t, webDeployment(4, "500m", "b")), 4, 0, 4, ""},
		{"more than there is room for", question(t, webDeployment(10, "500m", "b")), 4, 2, 0, "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
		{"fewer", question(t, webDeployment(1, "500m", "b")), 0, 0, 9, ""},
		{"none at all", &WhatIf{Remove: []ObjectRef{{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}}}, 0, 0, 1, ""},
	} {
		before := f.Revision()
		got := ask(t, f, c.q, false)
		if f.Revision() != before {
			t.Fatalf("%s: a question changed the state", c.what)
		}
		if total(got.Start) != c.start || total(got.Waiting) != c.waiting || total(got.End) != c.end || !got.Settled {
			t.Errorf("%s: %+v", c.what, got)
		}
		if c.reason != "" && (len(got.Waiting) != 1 || got.Waiting[0].Reason != c.reason || got.Waiting[0].Workload != "Deployment/web") {
			t.Errorf("%s: %+v", c.what, got.Waiting)
		}
		if did := ask(t, f, c.q, true); fmt.Sprint(*did) != fmt.Sprint(*got) {
			t.Errorf("%s: the answer was %+v, what came is %+v", c.what, *got, *did)
		}
	}
}

// Where a quota is asked about each pod, a question tells what it lets in, and of the rest what it says.
func TestWhatIfWithAQuota(t *testing.T) {
	f := small(t, 2)
	f.ApplyOps(2, []ops.Op{&ops.Put{Resource: reconcile.Quotas, Object: &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q", UID: "q"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("5")}}}}})
	for _, c := range []struct {
		replicas       int32
		start, waiting int
	}{{4, 4, 0}, {8, 1, 3}, {9, 0, 1}} {
		got := ask(t, f, question(t, webDeployment(c.replicas, "100m", "a")), false)
		if total(got.Start) != c.start || total(got.Waiting) != c.waiting || !got.Settled {
			t.Errorf("%d pods: %+v", c.replicas, got)
		}
		if c.waiting > 0 && (len(got.Waiting) != 1 || got.Waiting[0].Workload != "Deployment/web" || !strings.Contains(got.Waiting[0].Reason, "exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5")) {
			t.Errorf("%d pods: %+v", c.replicas, got.Waiting)
		}
		ask(t, f, question(t, webDeployment(c.replicas, "100m", "a")), true)
	}
}
