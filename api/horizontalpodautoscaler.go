package api

import (
	"fmt"
	"maps"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: autoscalingv2.SchemeGroupVersion,
		Name:         "HorizontalPodAutoscaler", Resource: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"}, Categories: []string{"all"},
		New:                    func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
		NewList:                func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		Default:                with(defaultAutoscaler),
		PrepareForCreate:       with(dropAutoscalerAnnotations),
		PrepareForUpdate:       withOld(func(a, _ *autoscalingv2.HorizontalPodAutoscaler) { dropAutoscalerAnnotations(a) }),
		PrepareForStatusUpdate: withOld(func(a, _ *autoscalingv2.HorizontalPodAutoscaler) { dropAutoscalerAnnotations(a) }),
		Validate:               check(validateAutoscaler),
		ValidateUpdate:         checkOld(validateAutoscalerUpdate),
		ValidateStatusUpdate:   checkOld(validateAutoscalerStatus),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Reference", "Whose number of pods it changes."),
			textColumn("Targets", "The metrics as they are, and as they should be."),
			textColumn("MinPods", "The fewest pods there may be."),
			numberColumn("MaxPods", "The most pods there may be."),
			numberColumn("Replicas", "How many pods there are."),
			ageColumn,
		},
		Row: row(func(a *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
			s, least := &a.Spec, cellUnset
			if s.MinReplicas != nil {
				least = itoa(int(*s.MinReplicas))
			}
			return []any{
				a.Name, s.ScaleTargetRef.Kind + "/" + s.ScaleTargetRef.Name, autoscalerTargets(s.Metrics, a.Status.CurrentMetrics),
				least, int64(s.MaxReplicas), int64(a.Status.CurrentReplicas), age(a.CreationTimestamp, now),
			}
		}),
		HasStatus:     true,
		HasGeneration: true,
		Forms: []Form{{
			GroupVersion: autoscalingv1.SchemeGroupVersion,
			New:          func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
			NewList:      func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscalerList{} },
			ToHub:        convert(autoscalerFromV1),
			FromHub:      convert(autoscalerToV1),
		}},
	})
}

// defaultUtilizationPercent is the target for the CPU of an autoscaler that names no metric.
const defaultUtilizationPercent = 80

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	s := &a.Spec
	fillPtr(&s.MinReplicas, 1)
	if len(s.Metrics) == 0 {
		s.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilizationPercent)}
	}
	if b := s.Behavior; b != nil {
		fillPtr(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
		fillPtr(&b.ScaleUp.StabilizationWindowSeconds, 0)
		defaultScalingRules(b.ScaleUp, scaling(autoscalingv2.PodsScalingPolicy, 4), scaling(autoscalingv2.PercentScalingPolicy, 100))
		fillPtr(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
		defaultScalingRules(b.ScaleDown, scaling(autoscalingv2.PercentScalingPolicy, 100))
	}
}

// defaultScalingRules gives rules their policies, unless the user gave them an empty list, which validation refuses.
func defaultScalingRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	fillPtr(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}

// scaling is a policy for a quarter of a minute, the time between two looks of the autoscaler.
func scaling(t autoscalingv2.HPAScalingPolicyType, value int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: t, Value: value, PeriodSeconds: 15}
}

func cpuMetric(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name:   corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// autoscalerTargetsShownMax is how many metrics a table cell names before "+ N more...".
const autoscalerTargetsShownMax = 2

func autoscalerTargets(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return cellNone
	}
	var shown []string
	for i := range min(len(specs), autoscalerTargetsShownMax) {
		var current autoscalingv2.MetricStatus
		if i < len(statuses) {
			current = statuses[i]
		}
		shown = append(shown, targetText(&specs[i], &current))
	}
	text := strings.Join(shown, ", ")
	if more := len(specs) - len(shown); more > 0 {
		text += fmt.Sprintf(" + %d more...", more)
	}
	return text
}

// targetText shows one metric as "current/target".
func targetText(m *autoscalingv2.MetricSpec, s *autoscalingv2.MetricStatus) string {
	target, now := metricTarget(m), metricCurrent(m.Type, s)
	if target == nil {
		return "<unknown type>"
	}
	switch m.Type {
	case autoscalingv2.PodsMetricSourceType:
		return quantityText(now.AverageValue) + "/" + quantityText(target.AverageValue)
	case autoscalingv2.ResourceMetricSourceType:
		return string(m.Resource.Name) + ": " + resourceTargetText(target, now)
	case autoscalingv2.ContainerResourceMetricSourceType:
		return string(m.ContainerResource.Name) + ": " + resourceTargetText(target, now)
	}
	if target.AverageValue != nil {
		return quantityText(now.AverageValue) + "/" + quantityText(target.AverageValue) + " (avg)"
	}
	return quantityText(now.Value) + "/" + quantityText(target.Value)
}

func resourceTargetText(target *autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return quantityText(now.AverageValue) + "/" + quantityText(target.AverageValue)
	}
	return percentText(now.AverageUtilization, cellUnknown) + "/" + percentText(target.AverageUtilization, "<auto>")
}

func quantityText(q *resource.Quantity) string {
	if q == nil {
		return cellUnknown
	}
	return q.String()
}

func percentText(n *int32, absent string) string {
	if n == nil {
		return absent
	}
	return itoa(int(*n)) + "%"
}

// metricTarget is the target of a metric; nil if the metric is not what its type says.
func metricTarget(m *autoscalingv2.MetricSpec) *autoscalingv2.MetricTarget {
	switch {
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		return &m.Object.Target
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		return &m.Pods.Target
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		return &m.Resource.Target
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		return &m.ContainerResource.Target
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		return &m.External.Target
	}
	return nil
}

// metricCurrent is the last value of a metric of a type; an empty one if it is not known.
func metricCurrent(t autoscalingv2.MetricSourceType, s *autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	switch {
	case t == autoscalingv2.ObjectMetricSourceType && s.Object != nil:
		return &s.Object.Current
	case t == autoscalingv2.PodsMetricSourceType && s.Pods != nil:
		return &s.Pods.Current
	case t == autoscalingv2.ResourceMetricSourceType && s.Resource != nil:
		return &s.Resource.Current
	case t == autoscalingv2.ContainerResourceMetricSourceType && s.ContainerResource != nil:
		return &s.ContainerResource.Current
	case t == autoscalingv2.ExternalMetricSourceType && s.External != nil:
		return &s.External.Current
	}
	return &autoscalingv2.MetricValueStatus{}
}

// dropAutoscalerAnnotations: what the first version keeps in annotations, the hub has fields for; a client that writes both is not
// believed twice.
func dropAutoscalerAnnotations(a *autoscalingv2.HorizontalPodAutoscaler) {
	a.Annotations = withoutAutoscalerAnnotations(a.Annotations)
}

// withoutAutoscalerAnnotations copies a map that it must change.
func withoutAutoscalerAnnotations(m map[string]string) map[string]string {
	out := m
	for _, key := range []string{metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation} {
		if _, ok := out[key]; ok {
			out = maps.Clone(out)
			delete(out, key)
		}
	}
	return out
}
