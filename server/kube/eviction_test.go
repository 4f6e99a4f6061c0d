package kube_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// guarded makes a pod that runs, ready or not, and a budget with the status that its controller would have written.
func guarded(t *testing.T, h *harness, name string, ready bool, s policyv1.PodDisruptionBudgetStatus, spec policyv1.PodDisruptionBudgetSpec) *corev1.Pod {
	t.Helper()
	ctx := context.Background()
	p := pod(name, "node1")
	p.Labels = map[string]string{"app": name}
	made, err := h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status.Phase = corev1.PodRunning
	if ready {
		made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if made, err = h.client.CoreV1().Pods("default").UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	budget(t, h, name, name, s, spec)
	return made
}

func budget(t *testing.T, h *harness, name, app string, s policyv1.PodDisruptionBudgetStatus, spec policyv1.PodDisruptionBudgetSpec) {
	t.Helper()
	spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	api := h.client.PolicyV1().PodDisruptionBudgets("default")
	b, err := api.Create(context.Background(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Status = s
	if _, err := api.UpdateStatus(context.Background(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func evict(h *harness, name string, o *metav1.DeleteOptions) error {
	// The library would try again by itself what is refused for a time.
	return h.client.CoreV1().RESTClient().Post().MaxRetries(0).Namespace("default").Resource("pods").Name(name).SubResource("eviction").
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, DeleteOptions: o}).Do(context.Background()).Error()
}

func TestEvictionAsksTheBudget(t *testing.T) {
	h := start(t)
	always := policyv1.AlwaysAllow
	type status = policyv1.PodDisruptionBudgetStatus
	none := status{ObservedGeneration: 1, DesiredHealthy: 3, CurrentHealthy: 3}
	failed := none
	failed.Conditions = []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: "no idea", LastTransitionTime: metav1.Now()}}
	for i, c := range []struct {
		what    string
		ready   bool
		status  status
		policy  *policyv1.UnhealthyPodEvictionPolicyType
		refused string // the cause; "" is evicted
		retry   int
	}{
		{"there is room", true, status{ObservedGeneration: 1, DisruptionsAllowed: 1}, nil, "", 0},
		{"none is allowed", true, none, nil, "The disruption budget %s needs 3 healthy pods and has 3 currently", 0},
		{"the controller lags", true, status{DisruptionsAllowed: 1}, nil, "The disruption budget %s is still being processed by the server.", 1},
		{"the controller failed", true, failed, nil, "The disruption budget %s does not allow evicting pods currently because it failed sync: no idea", 0},
		{"an unready pod, enough others", false, none, nil, "", 0},
		{"an unready pod, too few others", false, status{ObservedGeneration: 1, DesiredHealthy: 3, CurrentHealthy: 2}, nil, "The disruption budget %s needs 3 healthy pods and has 2 currently", 0},
		{"an unready pod that is always allowed", false, status{ObservedGeneration: 1, DesiredHealthy: 3, CurrentHealthy: 2}, &always, "", 0},
		{"a ready pod and that policy", true, none, &always, "The disruption budget %s needs 3 healthy pods and has 3 currently", 0},
	} {
		name := fmt.Sprint("p", i)
		guarded(t, h, name, c.ready, c.status, policyv1.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: c.policy})
		err := evict(h, name, &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		if (err != nil) != (c.refused != "") {
			t.Errorf("%s, as a trial: %v", c.what, err)
		}
		if p, _ := h.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{}); p.DeletionTimestamp != nil || len(p.Status.Conditions) > 1 {
			t.Errorf("%s: a trial changed the pod: %+v", c.what, p.Status)
		}
		err = evict(h, name, nil)
		p, _ := h.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		if c.refused == "" {
			if err != nil || p.DeletionTimestamp == nil || !targeted(p) {
				t.Errorf("%s: %v, %+v", c.what, err, p.Status)
			}
			continue
		}
		cause, _ := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause)
		seconds, _ := apierrors.SuggestsClientDelay(err)
		if !apierrors.IsTooManyRequests(err) || err.Error() != "Cannot evict pod as it would violate the pod's disruption budget." ||
			cause.Message != fmt.Sprintf(c.refused, name) || seconds != c.retry || p.DeletionTimestamp != nil {
			t.Errorf("%s: %v, cause %+v, again in %d s", c.what, err, cause, seconds)
		}
	}
}

func targeted(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			return c.Status == corev1.ConditionTrue && c.Reason == "EvictionByEvictionAPI" && c.Message == "Eviction API: evicting"
		}
	}
	return false
}

func TestEvictionOfSeveralBudgets(t *testing.T) {
	h := start(t)
	room := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1}
	guarded(t, h, "p", true, room, policyv1.PodDisruptionBudgetSpec{})
	budget(t, h, "another", "p", room, policyv1.PodDisruptionBudgetSpec{})
	if err := evict(h, "p", nil); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "more than one PodDisruptionBudget") {
		t.Fatal(err)
	}
}

func TestEvictionPreconditionsCostNothing(t *testing.T) {
	h := start(t)
	p := guarded(t, h, "p", true, policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1}, policyv1.PodDisruptionBudgetSpec{})
	other, old := types.UID("other"), "1"
	for _, pre := range []*metav1.Preconditions{{UID: &other}, {ResourceVersion: &old}} {
		if err := evict(h, "p", &metav1.DeleteOptions{Preconditions: pre}); !apierrors.IsConflict(err) {
			t.Errorf("%+v: %v", pre, err)
		}
	}
	b, err := h.client.PolicyV1().PodDisruptionBudgets("default").Get(context.Background(), "p", metav1.GetOptions{})
	if err != nil || b.Status.DisruptionsAllowed != 1 || len(b.Status.DisruptedPods) != 0 {
		t.Fatalf("%+v, %v", b.Status, err)
	}
	if err := evict(h, "p", &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}}); err != nil {
		t.Fatal(err)
	}
}

// TestRacingEvictions: Invariant 100. Of many at once exactly as many go through as the budget allows, and each is noted in it.
func TestRacingEvictions(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	guarded(t, h, "p", true, policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 3}, policyv1.PodDisruptionBudgetSpec{})
	var names []string
	for i := range 10 {
		p := pod(fmt.Sprint("p", i), "node1")
		p.Labels = map[string]string{"app": "p"}
		made, err := h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		if _, err := h.client.CoreV1().Pods("default").UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		names = append(names, p.Name)
	}
	var done atomic.Int32
	var all sync.WaitGroup
	for _, n := range names {
		all.Go(func() {
			if err := evict(h, n, nil); err == nil {
				done.Add(1)
			} else if !apierrors.IsTooManyRequests(err) && !apierrors.IsTimeout(err) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b, err := h.client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "p", metav1.GetOptions{})
	if err != nil || done.Load() != 3 || b.Status.DisruptionsAllowed != 0 || len(b.Status.DisruptedPods) != 3 {
		t.Fatalf("%d went through: %+v, %v", done.Load(), b.Status, err)
	}
}
