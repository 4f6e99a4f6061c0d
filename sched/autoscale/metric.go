package autoscale

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// metricError is why a metric proposes nothing; reason is that of the condition and of the event.
type metricError struct {
	reason string
	error
}

// proposal is what one metric wants.
type proposal struct {
	replicas int32
	metric   string // as events name it
	status   autoscalingv2.MetricStatus
}

// propose asks one metric. Metrics other than of resources come from adapters of other APIs, of which a cluster has none by itself.
func (l *look) propose(m *autoscalingv2.MetricSpec) (proposal, *metricError) {
	switch {
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		p, current, err := l.proposeResource(m.Resource.Name, "", &m.Resource.Target)
		if err != nil {
			return proposal{}, &metricError{"FailedGetResourceMetric", err}
		}
		p.status = autoscalingv2.MetricStatus{Type: m.Type, Resource: &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name, Current: current}}
		return p, nil
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		s := m.ContainerResource
		p, current, err := l.proposeResource(s.Name, s.Container, &s.Target)
		if err != nil {
			return proposal{}, &metricError{"FailedGetContainerResourceMetric", err}
		}
		p.status = autoscalingv2.MetricStatus{Type: m.Type, ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: current}}
		return p, nil
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		return proposal{}, &metricError{"FailedGetPodsMetric", fmt.Errorf("unable to get metric %s: unable to fetch metrics from custom metrics API: "+
			"no custom metrics API (custom.metrics.k8s.io) registered", m.Pods.Metric.Name)}
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		return proposal{}, &metricError{"FailedGetObjectMetric", fmt.Errorf("unable to get metric %s: %s on %s %s: unable to fetch metrics from custom metrics API: "+
			"no custom metrics API (custom.metrics.k8s.io) registered", m.Object.Metric.Name, m.Object.DescribedObject.Kind, l.a.Namespace, m.Object.DescribedObject.Name)}
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		return proposal{}, &metricError{"FailedGetExternalMetric", fmt.Errorf("unable to get external metric %s/%s: unable to fetch metrics from external metrics API: "+
			"no external metrics API (external.metrics.k8s.io) registered", l.a.Namespace, m.External.Metric.Name)}
	}
	return proposal{}, &metricError{"InvalidMetricSourceType", fmt.Errorf("unknown metric source type %q", m.Type)}
}

// proposeResource is a proposal from what the pods, or one container of each, use of a resource.
func (l *look) proposeResource(name corev1.ResourceName, container string, target *autoscalingv2.MetricTarget) (proposal, autoscalingv2.MetricValueStatus, error) {
	var none autoscalingv2.MetricValueStatus
	what := string(name) + " resource"
	if container != "" {
		what = string(name) + " container resource"
	}
	c := calculation{pods: l.target.Pods, current: l.target.Replicas, resource: name, container: container, now: l.now, tolerance: l.behavior.tolerance}
	used, err := usedOf(l.usage, l.a.Namespace, name, container)
	if err != nil {
		err = fmt.Errorf("unable to get metrics for resource %s: %w", name, err)
	}
	c.used = used
	if target.AverageValue != nil {
		if err == nil {
			err = c.ofValue(target.AverageValue.MilliValue())
		}
		if err != nil {
			return proposal{}, none, fmt.Errorf("failed to get %s usage: %w", name, err)
		}
		return proposal{replicas: c.replicas, metric: what}, autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(c.average, resource.DecimalSI)}, nil
	}
	if target.AverageUtilization == nil {
		return proposal{}, none, fmt.Errorf("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	if err == nil {
		err = c.ofUtilization(int64(*target.AverageUtilization))
	}
	if err != nil {
		return proposal{}, none, fmt.Errorf("failed to get %s utilization: %w", name, err)
	}
	return proposal{replicas: c.replicas, metric: what + " utilization (percentage of request)"},
		autoscalingv2.MetricValueStatus{AverageUtilization: &c.percent, AverageValue: resource.NewMilliQuantity(c.average, resource.DecimalSI)}, nil
}
