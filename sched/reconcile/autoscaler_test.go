package reconcile

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/sched/autoscale"
)

func testAutoscaler(kind, group, target string, percent int32) *autoscalingv2.HorizontalPodAutoscaler {
	one, zero := int32(1), int32(0)
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, APIVersion: group, Name: target}, MinReplicas: &one, MaxReplicas: 10,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}},
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &zero}},
	}}
}

func (w *world) autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	return w.objects[ref{Autoscalers, "default", "a"}].obj.(*autoscalingv2.HorizontalPodAutoscaler)
}

// measure lets every pod use some millicores, of the 100 that each requests.
func (w *world) measure(milli int) {
	u := autoscale.Usage{}
	for _, p := range w.pods {
		u[p.Name] = &metricsv1beta1.PodMetrics{Timestamp: metav1.NewTime(w.now), Window: metav1.Duration{Duration: time.Second},
			Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(fmt.Sprintf("%dm", milli))}}}}
	}
	w.e.ObserveUsage(map[string]autoscale.Usage{"default": u})
	w.converge()
}

// old gives every pod a start long ago, so that its work is not that of starting.
func (w *world) old() {
	for _, p := range w.pods {
		s := p.DecodeStatus()
		began := metav1.NewTime(w.now.Add(-time.Hour))
		s.StartTime = &began
		b, _ := s.Marshal()
		next := *p
		_ = next.SetStatus(b)
		w.putRecord(p, &next)
	}
}

func TestAutoscalerFollowsTheLoad(t *testing.T) {
	w := standardWorld(t, 1, 3)
	w.put(Deployments, testDeployment("web", 2))
	w.put(Autoscalers, testAutoscaler("Deployment", "apps/v1", "web", 50))
	w.converge()
	if got := w.e.UsageWanted(); len(got["default"]) != 2 {
		t.Fatalf("wanted %v", got)
	}
	step := func(milli int, want int32) {
		t.Helper()
		w.old()
		w.now = w.now.Add(15 * time.Second)
		w.measure(milli)
		d, a := w.deployment("web"), w.autoscaler()
		if *d.Spec.Replicas != want || d.Status.ReadyReplicas != want || a.Status.DesiredReplicas != want || d.Status.ObservedGeneration != d.Generation {
			t.Fatalf("at %d m: %d pods are wanted, %+v, %+v", milli, *d.Spec.Replicas, d.Status, a.Status)
		}
	}
	step(50, 2)
	step(100, 4)
	step(100, 8)
	step(25, 4)
	step(0, 1)
	if !w.told("SuccessfulRescale", "New size: 8; reason: cpu resource utilization (percentage of request) above target") ||
		!w.told("SuccessfulRescale", "New size: 1; reason: All metrics below target") {
		t.Error("no events")
	}
}

func TestAutoscalerWithoutTarget(t *testing.T) {
	for _, c := range []struct{ kind, group, message string }{
		{"Deployment", "apps/v1", `deployments.apps "web" not found`},
		{"DaemonSet", "apps/v1", `no matches for kind "DaemonSet" in group "apps"`},
		{"Deployment", "a/b/c", "invalid API version in scale target reference: unexpected GroupVersion string: a/b/c"},
	} {
		w := standardWorld(t, 1, 1)
		w.put(Autoscalers, testAutoscaler(c.kind, c.group, "web", 50))
		w.measure(0)
		got := w.autoscaler().Status.Conditions
		if len(got) != 1 || got[0].Reason != "FailedGetScale" || got[0].Message != "the HPA controller was unable to get the target's current scale: "+c.message {
			t.Errorf("%+v", got)
		}
	}
}

// TestNothingIsMeasuredForNobody: no autoscaler, no question.
func TestNothingIsMeasuredForNobody(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(Deployments, testDeployment("web", 2))
	w.converge()
	if got := w.e.UsageWanted(); len(got) != 0 {
		t.Fatal(got)
	}
	w.put(Autoscalers, testAutoscaler("Deployment", "apps/v1", "web", 50))
	w.converge()
	if got := w.e.UsageWanted(); !reflect.DeepEqual(got, Measured{"default": {"n1"}}) {
		t.Fatal(got)
	}
}
