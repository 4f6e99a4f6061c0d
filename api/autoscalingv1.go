package api

import (
	"encoding/json"
	"maps"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The first version of the autoscaler knows one metric, the use of the CPU. Everything else that an autoscaler has is kept, for its
// clients, in these annotations. The first two and the last hold lists of the version's own types.
const (
	metricsAnnotation        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics"
	behaviorAnnotation       = "autoscaling.alpha.kubernetes.io/behavior"
	conditionsAnnotation     = "autoscaling.alpha.kubernetes.io/conditions"
)

// autoscalerFromV1 puts the metric of the first version after those of the annotation, as Kubernetes does. An annotation that cannot be
// read counts as absent.
func autoscalerFromV1(from *autoscalingv1.HorizontalPodAutoscaler, to *autoscalingv2.HorizontalPodAutoscaler) {
	to.ObjectMeta = from.ObjectMeta
	to.Annotations = withoutAutoscalerAnnotations(from.Annotations)
	s, status := &from.Spec, &from.Status
	to.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(s.ScaleTargetRef),
		MinReplicas:    s.MinReplicas,
		MaxReplicas:    s.MaxReplicas,
		Metrics:        each(annotated[[]autoscalingv1.MetricSpec](from, metricsAnnotation), metricFromV1),
		Behavior:       annotated[*autoscalingv2.HorizontalPodAutoscalerBehavior](from, behaviorAnnotation),
	}
	if n := s.TargetCPUUtilizationPercentage; n != nil {
		to.Spec.Metrics = append(to.Spec.Metrics, cpuMetric(*n))
	}
	to.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: status.ObservedGeneration,
		LastScaleTime:      status.LastScaleTime,
		CurrentReplicas:    status.CurrentReplicas,
		DesiredReplicas:    status.DesiredReplicas,
		CurrentMetrics:     each(annotated[[]autoscalingv1.MetricStatus](from, currentMetricsAnnotation), metricStatusFromV1),
		Conditions:         annotated[[]autoscalingv2.HorizontalPodAutoscalerCondition](from, conditionsAnnotation),
	}
	if n := status.CurrentCPUUtilizationPercentage; n != nil && to.Status.CurrentMetrics == nil {
		to.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: n}}}}
	}
}

// autoscalerToV1 gives the CPU's use a field. Current metrics are annotated all, as the fields say too little of them.
func autoscalerToV1(from *autoscalingv2.HorizontalPodAutoscaler, to *autoscalingv1.HorizontalPodAutoscaler) {
	s, status := &from.Spec, &from.Status
	cpu, others := splitCPU(s.Metrics)
	to.ObjectMeta = from.ObjectMeta
	to.Annotations = maps.Clone(withoutAutoscalerAnnotations(from.Annotations))
	annotate(to, metricsAnnotation, each(others, metricToV1), len(others) > 0)
	annotate(to, currentMetricsAnnotation, each(status.CurrentMetrics, metricStatusToV1), len(status.CurrentMetrics) > 0)
	annotate(to, conditionsAnnotation, status.Conditions, len(status.Conditions) > 0)
	annotate(to, behaviorAnnotation, behaviorText(s.Behavior), s.Behavior != nil)
	to.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef:                 autoscalingv1.CrossVersionObjectReference(s.ScaleTargetRef),
		MinReplicas:                    s.MinReplicas,
		MaxReplicas:                    s.MaxReplicas,
		TargetCPUUtilizationPercentage: cpu,
	}
	to.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration:              status.ObservedGeneration,
		LastScaleTime:                   status.LastScaleTime,
		CurrentReplicas:                 status.CurrentReplicas,
		DesiredReplicas:                 status.DesiredReplicas,
		CurrentCPUUtilizationPercentage: currentCPU(status.CurrentMetrics),
	}
}

// annotated reads an annotation; the zero value stands for one that is absent or broken.
func annotated[T any](o metav1.Object, key string) (v T) {
	text, ok := o.GetAnnotations()[key]
	if !ok || json.Unmarshal([]byte(text), &v) != nil {
		var none T
		return none
	}
	return v
}

// annotate writes what is there; all its types can be written as JSON. The map is the object's own.
func annotate(o *autoscalingv1.HorizontalPodAutoscaler, key string, v any, there bool) {
	if !there {
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("api: writing the annotation " + key + ": " + err.Error())
	}
	if o.Annotations == nil {
		o.Annotations = map[string]string{}
	}
	o.Annotations[key] = string(b)
}

// each converts a list; no elements are no list.
func each[A, B any](list []A, convert func(*A) B) (out []B) {
	for i := range list {
		out = append(out, convert(&list[i]))
	}
	return out
}

// splitCPU takes the metric that the first version has a field for from the others. Of several it takes the last one, as the field's
// metric comes back last: so the order settles.
func splitCPU(metrics []autoscalingv2.MetricSpec) (percent *int32, others []autoscalingv2.MetricSpec) {
	for i, m := range slices.Backward(metrics) {
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil &&
			m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil {
			return m.Resource.Target.AverageUtilization, slices.Concat(metrics[:i], metrics[i+1:])
		}
	}
	return nil, metrics
}

func currentCPU(metrics []autoscalingv2.MetricStatus) *int32 {
	for _, m := range metrics {
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU {
			return m.Resource.Current.AverageUtilization
		}
	}
	return nil
}

// writtenBehavior is how Kubernetes writes a behavior into the annotation: with the Go names of its fields, whose case readers ignore.
type (
	writtenBehavior struct{ ScaleUp, ScaleDown *writtenRules }
	writtenRules    struct {
		StabilizationWindowSeconds *int32
		SelectPolicy               *autoscalingv2.ScalingPolicySelect
		Policies                   []writtenPolicy
		Tolerance                  *resource.Quantity
	}
	writtenPolicy struct {
		Type                 autoscalingv2.HPAScalingPolicyType
		Value, PeriodSeconds int32
	}
)

func behaviorText(b *autoscalingv2.HorizontalPodAutoscalerBehavior) *writtenBehavior {
	if b == nil {
		return nil
	}
	return &writtenBehavior{rulesText(b.ScaleUp), rulesText(b.ScaleDown)}
}

func rulesText(r *autoscalingv2.HPAScalingRules) *writtenRules {
	if r == nil {
		return nil
	}
	policy := func(p *autoscalingv2.HPAScalingPolicy) writtenPolicy { return writtenPolicy(*p) }
	return &writtenRules{r.StabilizationWindowSeconds, r.SelectPolicy, each(r.Policies, policy), r.Tolerance}
}
