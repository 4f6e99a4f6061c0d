package api

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(validateAutoscalerSpec(a), validateScaled(&a.Spec.ScaleTargetRef)...)
}

// validateAutoscalerUpdate lets an API version be that was accepted once.
func validateAutoscalerUpdate(a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	if a.Spec.ScaleTargetRef.APIVersion == old.Spec.ScaleTargetRef.APIVersion {
		return validateAutoscalerSpec(a)
	}
	return validateAutoscaler(a)
}

func validateAutoscalerSpec(a *autoscalingv2.HorizontalPodAutoscaler) (errs field.ErrorList) {
	s, spec := &a.Spec, field.NewPath("spec")
	if s.MinReplicas != nil {
		errs = append(errs, nonnegative(int64(*s.MinReplicas), spec.Child("minReplicas"))...)
	}
	most := spec.Child("maxReplicas")
	switch {
	case s.MaxReplicas == 0:
		errs = append(errs, field.Required(most, "must be set and greater than 0"))
	case s.MaxReplicas < 0:
		errs = append(errs, field.Invalid(most, s.MaxReplicas, "must be greater than or equal to 1"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(most, s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateObjectName(&s.ScaleTargetRef, spec.Child("scaleTargetRef"))...)
	errs = append(errs, validateMetrics(s, spec.Child("metrics"))...)
	if b := s.Behavior; b != nil {
		errs = append(errs, validateScalingRules(b.ScaleUp, spec.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateScalingRules(b.ScaleDown, spec.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func validateAutoscalerStatus(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	c := counts{path: field.NewPath("status")}
	c.add("currentReplicas", a.Status.CurrentReplicas)
	c.add("desiredReplicas", a.Status.DesiredReplicas)
	return c.errs
}

// validateScaled: the core group has only one kind that scales, so whoever leaves the group out of another has forgotten it.
func validateScaled(r *autoscalingv2.CrossVersionObjectReference) field.ErrorList {
	path := field.NewPath("spec", "scaleTargetRef", "apiVersion")
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, r.APIVersion, err.Error())}
	case gv.Group == "" && (r.Kind != "ReplicationController" || r.APIVersion != "v1"):
		return field.ErrorList{field.Invalid(path, r.APIVersion, "apiVersion must specify API group")}
	}
	return nil
}

// validateObjectName checks the kind and the name of an object of any group: they become parts of a path.
func validateObjectName(r *autoscalingv2.CrossVersionObjectReference, path *field.Path) field.ErrorList {
	return append(requiredSegment(r.Kind, "", path.Child("kind")), requiredSegment(r.Name, "", path.Child("name"))...)
}

// validateMetrics: where no pod runs, no pod has a metric, so only metrics of other things can bring the first one back.
func validateMetrics(s *autoscalingv2.HorizontalPodAutoscalerSpec, path *field.Path) (errs field.ErrorList) {
	foreign := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		errs = append(errs, validateMetric(m, path.Index(i))...)
		foreign = foreign || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !foreign {
		errs = append(errs, field.Forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

// metricSource is one of the fields of a metric; check is nil if it is not set.
type metricSource struct {
	of    autoscalingv2.MetricSourceType
	name  string
	check func(*field.Path) field.ErrorList
}

func metricSources(m *autoscalingv2.MetricSpec) []metricSource {
	return []metricSource{
		{autoscalingv2.ObjectMetricSourceType, "object", ifSet(m.Object, validateObjectMetric)},
		{autoscalingv2.ExternalMetricSourceType, "external", ifSet(m.External, validateExternalMetric)},
		{autoscalingv2.PodsMetricSourceType, "pods", ifSet(m.Pods, validatePodsMetric)},
		{autoscalingv2.ResourceMetricSourceType, "resource", ifSet(m.Resource, validateResourceMetric)},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", ifSet(m.ContainerResource, validateContainerMetric)},
	}
}

func ifSet[T any](p *T, check func(*T, *field.Path) field.ErrorList) func(*field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return func(path *field.Path) field.ErrorList { return check(p, path) }
}

// validateMetric wants the one source that the type names. Of several, only the first is looked into.
func validateMetric(m *autoscalingv2.MetricSpec, path *field.Path) (errs field.ErrorList) {
	if m.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "must specify a metric source type"))
	}
	errs = append(errs, oneOf(m.Type, path.Child("type"), autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)...)
	var set []metricSource
	for _, s := range metricSources(m) {
		if s.check != nil {
			set = append(set, s)
		} else if s.of == m.Type {
			errs = append(errs, field.Required(path.Child(s.name), "must populate information for the given metric source"))
		}
	}
	for i, s := range set {
		if i == 0 {
			errs = append(errs, s.check(path.Child(s.name))...)
		}
		if len(set) > 1 && s.of != m.Type {
			errs = append(errs, field.Forbidden(path.Child(s.name), "must populate the given metric source only"))
		}
	}
	return errs
}

func validateObjectMetric(m *autoscalingv2.ObjectMetricSource, path *field.Path) field.ErrorList {
	described := path.Child("describedObject")
	errs := validateObjectName(&m.DescribedObject, described)
	if _, err := schema.ParseGroupVersion(m.DescribedObject.APIVersion); err != nil {
		errs = append(errs, field.Invalid(described.Child("apiVersion"), m.DescribedObject.APIVersion, err.Error()))
	}
	errs = append(errs, validateNamedTarget(&m.Metric, &m.Target, path)...)
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
	return errs
}

func validateExternalMetric(m *autoscalingv2.ExternalMetricSource, path *field.Path) field.ErrorList {
	errs := validateNamedTarget(&m.Metric, &m.Target, path)
	switch value, average := m.Target.Value, m.Target.AverageValue; {
	case value == nil && average == nil:
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	case value != nil && average != nil:
		errs = append(errs, field.Forbidden(path.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
	return errs
}

func validatePodsMetric(m *autoscalingv2.PodsMetricSource, path *field.Path) field.ErrorList {
	errs := validateNamedTarget(&m.Metric, &m.Target, path)
	if v := m.Target.AverageValue; v == nil || v.Sign() != 1 {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
	return errs
}

func validateContainerMetric(m *autoscalingv2.ContainerResourceMetricSource, path *field.Path) field.ErrorList {
	errs := validateResourceMetric(&autoscalingv2.ResourceMetricSource{Name: m.Name, Target: m.Target}, path)
	if m.Container == "" {
		errs = append(errs, field.Required(path.Child("container"), "must specify a container"))
	}
	return errs
}

func validateResourceMetric(m *autoscalingv2.ResourceMetricSource, path *field.Path) (errs field.ErrorList) {
	t := &m.Target
	if m.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), "must specify a resource name"))
	}
	errs = append(errs, validateTarget(t, path.Child("target"))...)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		errs = append(errs, field.Required(path.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization"))
	case t.AverageUtilization != nil && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(path.Child("target", "averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateNamedTarget(m *autoscalingv2.MetricIdentifier, t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	return append(requiredSegment(m.Name, "must specify a metric name", path.Child("metric", "name")), validateTarget(t, path.Child("target"))...)
}

func validateTarget(t *autoscalingv2.MetricTarget, path *field.Path) (errs field.ErrorList) {
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		if t.Type == "" {
			errs = append(errs, field.Required(path.Child("type"), "must specify a metric target type"))
		}
		errs = append(errs, field.Invalid(path.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	positive := func(q *resource.Quantity, name string) {
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(path.Child(name), q, "must be positive"))
		}
	}
	positive(t.Value, "value")
	positive(t.AverageValue, "averageValue")
	if n := t.AverageUtilization; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(path.Child("averageUtilization"), *n, "must be greater than 0"))
	}
	return errs
}

func validateScalingRules(r *autoscalingv2.HPAScalingRules, path *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	if n := r.StabilizationWindowSeconds; n != nil {
		at := path.Child("stabilizationWindowSeconds")
		if *n < 0 {
			errs = append(errs, field.Invalid(at, *n, "must be greater than or equal to zero"))
		}
		if *n > stabilizationSecondsMax {
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d", stabilizationSecondsMax)))
		}
	}
	if p := r.SelectPolicy; p != nil {
		errs = append(errs, oneOf(*p, path.Child("selectPolicy"),
			autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)...)
	}
	policies := path.Child("policies")
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(policies, "must specify at least one Policy"))
	}
	for i := range r.Policies {
		errs = append(errs, validateScalingPolicy(&r.Policies[i], policies.Index(i))...)
	}
	if q := r.Tolerance; q != nil && q.Sign() < 0 {
		errs = append(errs, field.Invalid(path.Child("tolerance"), q.String(), "must be greater than or equal to 0"))
	}
	return errs
}

func validateScalingPolicy(p *autoscalingv2.HPAScalingPolicy, path *field.Path) field.ErrorList {
	errs := oneOf(p.Type, path.Child("type"), autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)
	if p.Value <= 0 {
		errs = append(errs, field.Invalid(path.Child("value"), p.Value, "must be greater than zero"))
	}
	if p.PeriodSeconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
	}
	if p.PeriodSeconds > scalingPeriodSecondsMax {
		errs = append(errs, field.Invalid(path.Child("periodSeconds"), p.PeriodSeconds,
			fmt.Sprintf("must be less than or equal to %d", scalingPeriodSecondsMax)))
	}
	return errs
}
