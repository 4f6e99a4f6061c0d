package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func shareOf(s string) *intstr.IntOrString {
	v := intstr.Parse(s)
	return &v
}

func testBudget(least, most string, selector *metav1.LabelSelector) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}}
	if least != "" {
		b.Spec.MinAvailable = shareOf(least)
	}
	if most != "" {
		b.Spec.MaxUnavailable = shareOf(most)
	}
	return b
}

func (w *world) budget() *policyv1.PodDisruptionBudget {
	return w.objects[ref{Budgets, "default", "b"}].obj.(*policyv1.PodDisruptionBudget)
}

func webOnly() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}

// TestBudgetStatus: AP025.
func TestBudgetStatus(t *testing.T) {
	for _, c := range []struct {
		least, most                         string
		selector                            *metav1.LabelSelector
		healthy, desired, expected, allowed int32
		reason                              string
	}{
		{"3", "", webOnly(), 5, 3, 5, 2, policyv1.SufficientPodsReason},
		{"7", "", webOnly(), 5, 7, 5, 0, policyv1.InsufficientPodsReason},
		{"50%", "", webOnly(), 5, 3, 5, 2, policyv1.SufficientPodsReason},
		{"0%", "", webOnly(), 5, 0, 5, 5, policyv1.SufficientPodsReason},
		{"", "1", webOnly(), 5, 4, 5, 1, policyv1.SufficientPodsReason},
		{"", "30%", webOnly(), 5, 3, 5, 2, policyv1.SufficientPodsReason},
		{"", "9", webOnly(), 5, 0, 5, 5, policyv1.SufficientPodsReason},
		{"", "", webOnly(), 5, 0, 0, 0, policyv1.InsufficientPodsReason},
		{"", "1", &metav1.LabelSelector{}, 7, 6, 7, 1, policyv1.SufficientPodsReason},
		{"1", "", nil, 0, 1, 0, 0, policyv1.InsufficientPodsReason},
	} {
		t.Run(fmt.Sprintf("min %s max %s of %v", c.least, c.most, metav1.FormatLabelSelector(c.selector)), func(t *testing.T) {
			w := standardWorld(t, 1, 3)
			w.put(Deployments, testDeployment("web", 5))
			w.put(Deployments, testDeployment("other", 2))
			w.put(Budgets, testBudget(c.least, c.most, c.selector))
			w.converge()
			s := w.budget().Status
			if s.CurrentHealthy != c.healthy || s.DesiredHealthy != c.desired || s.ExpectedPods != c.expected || s.DisruptionsAllowed != c.allowed || s.ObservedGeneration != 1 {
				t.Errorf("%+v", s)
			}
			if len(s.Conditions) != 1 || s.Conditions[0].Type != policyv1.DisruptionAllowedCondition || s.Conditions[0].Reason != c.reason {
				t.Errorf("%+v", s.Conditions)
			}
		})
	}
}

// TestBudgetFollows: what the budget allows follows the pods' controllers, the pods and their node.
func TestBudgetFollows(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Deployments, testDeployment("web", 4))
	w.put(Budgets, testBudget("", "50%", webOnly()))
	w.converge()
	expect := func(what string, healthy, desired, allowed int32) {
		t.Helper()
		if s := w.budget().Status; s.CurrentHealthy != healthy || s.DesiredHealthy != desired || s.DisruptionsAllowed != allowed {
			t.Errorf("%s: %+v", what, s)
		}
	}
	expect("at first", 4, 2, 2)
	d, n := w.deployment("web"), int32(8)
	d.Spec.Replicas = &n
	w.put(Deployments, d)
	w.settle()
	expect("before the new pods are ready", 4, 4, 0)
	w.converge()
	expect("after that", 8, 4, 4)
	w.dead["n1"] = true
	w.e.NodeDown("n1")
	w.settle()
	expect("on the death of a node", 4, 4, 0)
	b := w.budget().DeepCopy()
	b.Spec.MaxUnavailable = shareOf("100%")
	w.put(Budgets, b)
	w.settle()
	expect("after another word of the user", 4, 0, 4)
}

func TestBudgetOfPodsWithoutScale(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Budgets, testBudget("", "1", webOnly()))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "p", Labels: map[string]string{"app": "web"}}, Spec: testPodSpec("v1")}
	w.put(Pods, p.DeepCopy())
	w.converge()
	if s := w.budget().Status; s.ExpectedPods != 0 || s.DisruptionsAllowed != 0 || s.CurrentHealthy != 1 {
		t.Errorf("of a bare pod: %+v", s)
	}
	one := int32(1)
	w.put(Jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "j"}, Spec: batchv1.JobSpec{Parallelism: &one, Completions: &one, BackoffLimit: &one,
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: testPodSpec("v1")}}})
	w.converge()
	s := w.budget().Status
	if c := s.Conditions[0]; s.DisruptionsAllowed != 0 || c.Reason != policyv1.SyncFailedReason || c.Message != "jobs.batch does not implement the scale subresource" {
		t.Errorf("of a job: %+v", s)
	}
}

// TestEvictedPodThatStays: a pod that an eviction announced and never deleted counts again after two minutes.
func TestEvictedPodThatStays(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.put(Deployments, testDeployment("web", 3))
	w.put(Budgets, testBudget("", "1", webOnly()))
	w.converge()
	for _, p := range w.mine("web") {
		next, err := api.SpendDisruption(w.budget(), p.Name, w.now)
		if err != nil {
			t.Fatal(err)
		}
		w.apply([]ops.Op{&ops.Put{Resource: Budgets, Object: next, Expect: w.objects[ref{Budgets, "default", "b"}].rev}})
		break
	}
	w.converge()
	if s := w.budget().Status; s.CurrentHealthy != 2 || s.DisruptionsAllowed != 0 || len(s.DisruptedPods) != 1 {
		t.Fatalf("%+v", s)
	}
	w.now = w.now.Add(evictionTimeout + time.Second)
	w.settle()
	if s := w.budget().Status; s.CurrentHealthy != 3 || s.DisruptionsAllowed != 1 || len(s.DisruptedPods) != 0 {
		t.Fatalf("%+v", s)
	}
}

// TestBudgetIsNeverExceeded: Invariant 100. Whatever the order in which evictions are announced and carried out, and the controller looks, evictions
// never leave fewer healthy pods than the budget demands.
func TestBudgetIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 3)
		n := rapid.Int32Range(1, 8).Draw(t, "replicas")
		w.put(Deployments, testDeployment("web", n))
		most := rapid.SampledFrom([]string{"1", "2", "25%", "50%", "100%"}).Draw(t, "most")
		w.put(Budgets, testBudget("", most, webOnly()))
		w.converge()
		unavailable, _ := intstr.GetScaledValueFromIntOrPercent(shareOf(most), int(n), true)
		announced := map[types.UID]*api.PodRecord{}
		for range rapid.IntRange(1, 30).Draw(t, "actions") {
			switch rapid.SampledFrom([]string{"announce", "announce", "delete", "step", "work", "late"}).Draw(t, "action") {
			case "announce":
				announce(t, w, announced)
			case "delete":
				for uid, p := range announced {
					w.apply([]ops.Op{&ops.DeletePods{Now: w.now.Unix(), Rows: []ops.DeleteRow{{Namespace: "default", Name: p.Name, UID: uid, Grace: -1}}}})
					delete(announced, uid)
					break
				}
			case "step":
				out, _ := w.e.Step(w.now)
				w.apply(out)
			case "late": // an eviction comes between a decision of the controller and its commit
				out, _ := w.e.Step(w.now)
				announce(t, w, announced)
				w.apply(out)
			case "work":
				w.work()
			}
			left := 0
			for _, p := range w.mine("web") {
				if p.Status.Ready() && !p.Deleting() && announced[p.UID] == nil {
					left++
				}
			}
			if left < int(n)-unavailable {
				t.Fatalf("%d of %d pods are healthy, %d may be unavailable\n%s", left, n, unavailable, strings.Join(w.trace, "\n"))
			}
		}
		for uid, p := range announced {
			w.apply([]ops.Op{&ops.DeletePods{Now: w.now.Unix(), Rows: []ops.DeleteRow{{Namespace: "default", Name: p.Name, UID: uid, Grace: -1}}}})
		}
		w.converge()
		if s := w.budget().Status; int(s.CurrentHealthy) != int(n) || int(s.DisruptionsAllowed) != min(int(n), unavailable) {
			t.Fatalf("at rest: %+v", s)
		}
		checkBudget(t, w)
	})
}

func announce(t *rapid.T, w *world, announced map[types.UID]*api.PodRecord) {
	p := pick(t, w)
	if p == nil || !p.Status.Ready() || p.Deleting() || announced[p.UID] != nil {
		return
	}
	next, err := api.SpendDisruption(w.budget(), p.Name, w.now)
	if err != nil {
		return
	}
	announced[p.UID] = p
	if got := w.setObject(&ops.Put{Resource: Budgets, Object: next, Expect: w.objects[ref{Budgets, "default", "b"}].rev}); got != ops.Applied {
		t.Fatalf("announcing: %v", got)
	}
}

// checkBudget compares the running counts with a count from scratch.
func checkBudget(t *rapid.T, w *world) {
	b := w.e.budgets["default"]["b"]
	members, healthy := 0, 0
	for p := range w.e.space("default").pods.all() {
		if p.rec.Labels()["app"] == "web" {
			members++
			if w.e.healthy(p) {
				healthy++
			}
		}
	}
	if members != len(b.members) || healthy != b.healthy {
		t.Fatalf("counted %d members and %d healthy, there are %d and %d", len(b.members), b.healthy, members, healthy)
	}
}
