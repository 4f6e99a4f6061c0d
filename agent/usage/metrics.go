package usage

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Pods is what the node's pods use now, in the words of the resource metrics API; an empty namespace means all.
func (m *Meter) Pods(ctx context.Context, namespace string) *metricsv1beta1.PodMetricsList {
	last, before := m.fresh(ctx)
	out := &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{}}
	for _, r := range last.sorted() {
		if namespace != "" && r.pod.Namespace != namespace {
			continue
		}
		if pm := podMetrics(r, before.of(r.pod)); len(pm.Containers) > 0 {
			out.Items = append(out.Items, pm)
		}
	}
	return out
}

// Node is what the node uses now.
func (m *Meter) Node(ctx context.Context) *metricsv1beta1.NodeMetrics {
	last, before := m.fresh(ctx)
	if last == nil {
		last = &reading{at: time.Now()}
	}
	var then runtime.Usage
	if before != nil {
		then = before.node
	}
	rate, window := nanoCores(last.node, then, m.booted())
	return &metricsv1beta1.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: m.cfg.Node}, Timestamp: metav1.NewTime(last.at), Window: metav1.Duration{Duration: window.Round(time.Millisecond)},
		Usage: amounts(rate, last.node.WorkingSetBytes),
	}
}

func podMetrics(now, then podReading) metricsv1beta1.PodMetrics {
	pm := metricsv1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: now.pod.Namespace, Name: now.pod.Name, Labels: now.pod.Labels},
		Timestamp:  metav1.NewTime(now.stats.Time),
	}
	for _, c := range running(now.pod) {
		u, ok := now.stats.Containers[c.id]
		if !ok {
			continue
		}
		rate, window := nanoCores(u, then.stats.Containers[c.id], c.started)
		pm.Window = metav1.Duration{Duration: max(pm.Window.Duration, window.Round(time.Millisecond))}
		pm.Containers = append(pm.Containers, metricsv1beta1.ContainerMetrics{Name: c.name, Usage: amounts(rate, u.WorkingSetBytes)})
	}
	return pm
}

// amounts says a rate of processor time and a number of bytes as quantities.
func amounts(nanoCores, bytes uint64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(nanoCores), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(bytes), resource.BinarySI),
	}
}

// sorted lists a reading's pods by namespace and name.
func (r *reading) sorted() []podReading {
	if r == nil {
		return nil
	}
	out := make([]podReading, 0, len(r.pods))
	for _, p := range r.pods {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b podReading) int {
		return cmp.Or(cmp.Compare(a.pod.Namespace, b.pod.Namespace), cmp.Compare(a.pod.Name, b.pod.Name))
	})
	return out
}

// of is what the reading has of a pod; nothing if there is none.
func (r *reading) of(p *corev1.Pod) podReading {
	if r == nil {
		return podReading{}
	}
	return r.pods[p.UID]
}
