package kube_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// quota puts a quota into the store, counted as the engine counts it.
func (h *harness) quota(hard corev1.ResourceList, used corev1.ResourceList, change ...func(*corev1.ResourceQuotaSpec)) {
	h.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q", UID: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
		Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used}}
	for _, f := range change {
		f(&q.Spec)
	}
	h.have("", "resourcequotas", q)
}

func (h *harness) usedOf(name corev1.ResourceName) string {
	q, err := h.client.CoreV1().ResourceQuotas("default").Get(context.Background(), "q", metav1.GetOptions{})
	if err != nil {
		h.Fatal(err)
	}
	n := q.Status.Used[name]
	return n.String()
}

// TestServersShareAQuota (Invariant 130): three servers that admit at the same time never admit more than there is.
func TestServersShareAQuota(t *testing.T) {
	store := kubetest.New()
	var servers []*harness
	for range 3 {
		servers = append(servers, start(t, func(c *kube.Config) { c.Store = store }))
	}
	h := servers[0]
	h.store = store
	h.namespace("default")
	h.quota(list("configmaps", "20"), list("configmaps", "0"))
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			_, err := servers[i%3].createConfigMap(fmt.Sprint("c", i))
			switch {
			case err == nil:
				made.Add(1)
			case !strings.Contains(err.Error(), "exceeded quota: q, requested: configmaps=1, used: configmaps=20, limited: configmaps=20"):
				t.Errorf("refused with %v", err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 20 || h.usedOf("configmaps") != "20" {
		t.Errorf("%d objects were made, and the quota says %s", made.Load(), h.usedOf("configmaps"))
	}
}

// TestQuotasCountPods is AM078: what pods ask for counts, must be said, and may not grow beyond what there is.
func TestQuotasCountPods(t *testing.T) {
	h := start(t)
	h.quota(list("pods", "2", "requests.cpu", "1", "limits.memory", "1Gi", "requests.example.com/bulb", "3"),
		list("pods", "0", "requests.cpu", "0", "limits.memory", "0", "requests.example.com/bulb", "0"))
	ask := func(cpu, memory string) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) {
			s.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", cpu), Limits: list("memory", memory)}
		}
	}
	_, err := h.createPod("silent", nil)
	forbids(t, err, "failed quota: q: must specify limits.memory for: main; requests.cpu for: main")
	if _, err = h.createPod("a", ask("600m", "512Mi")); err != nil {
		t.Fatal(err)
	}
	_, err = h.createPod("b", ask("600m", "256Mi"))
	forbids(t, err, "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1")
	if _, err = h.createPod("b", ask("400m", "256Mi")); err != nil {
		t.Fatal(err)
	}
	_, err = h.createPod("c", ask("0", "1Mi"))
	forbids(t, err, "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2")
	if got := h.usedOf("limits.memory"); got != "768Mi" {
		t.Errorf("memory in use: %s", got)
	}
}

// TestQuotaScopes is AM085 and AM086.
func TestQuotaScopes(t *testing.T) {
	for scope, c := range map[corev1.ResourceQuotaScope]struct{ in, out func(*corev1.PodSpec) }{
		corev1.ResourceQuotaScopeBestEffort:     {nil, func(s *corev1.PodSpec) { s.Containers[0].Resources.Requests = list("cpu", "1") }},
		corev1.ResourceQuotaScopeNotBestEffort:  {func(s *corev1.PodSpec) { s.Containers[0].Resources.Requests = list("cpu", "1") }, nil},
		corev1.ResourceQuotaScopeTerminating:    {func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = new(int64(9)) }, nil},
		corev1.ResourceQuotaScopeNotTerminating: {nil, func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = new(int64(9)) }},
	} {
		t.Run(string(scope), func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.quota(list("pods", "1"), list("pods", "0"), func(s *corev1.ResourceQuotaSpec) { s.Scopes = []corev1.ResourceQuotaScope{scope} })
			for i := range 2 {
				if _, err := h.createPod(fmt.Sprint("out", i), c.out); err != nil {
					t.Errorf("out of scope: %v", err)
				}
			}
			if _, err := h.createPod("in0", c.in); err != nil {
				t.Errorf("in scope: %v", err)
			}
			_, err := h.createPod("in1", c.in)
			forbids(t, err, "exceeded quota")
		})
	}
}
