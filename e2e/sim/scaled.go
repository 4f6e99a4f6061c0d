package sim

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched/autoscale"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// The Deployment app has so many pods as its load wants, between the bounds of its autoscaler, of which its budget keeps some.
const (
	app          = "app"
	appLeast     = 3
	appMost      = 7
	appHealthy   = 2
	appMilli     = 500 // requested by each pod
	appPercent   = 50  // of that is what the autoscaler aims at
	samplePause  = 5 * time.Second
	samplePatrol = time.Second // within which nodes must answer
)

// scaled is what the checks know of app.
type scaled struct {
	load     int64 // millicores that all of its pods use together
	rescaled int   // by its autoscaler
	evicted  int   // pods of it, by rebalancing

	promises map[string]map[types.UID]bool // by the entry that writes a budget's status: the healthy pods that it was counted from
	healthy  map[types.UID]bool            // of the last status that was written, without those evicted since
	evicting map[types.UID]bool
	moving   bool // somebody rebalances
}

func (x *scaled) init() {
	*x = scaled{load: appLeast * appMilli * appPercent / 100, promises: map[string]map[types.UID]bool{}, evicting: map[types.UID]bool{}}
}

func scaledDeployment() *appsv1.Deployment {
	t, replicas, quarter, deadline, history := template(app), int32(appLeast), intstr.FromString("25%"), int32(600), int32(10)
	t.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(appMilli, resource.DecimalSI)}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app, Generation: 1},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t,
			ProgressDeadlineSeconds: &deadline, RevisionHistoryLimit: &history,
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter}}}}
}

func scaledAutoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	least, percent, window := int32(appLeast), int32(appPercent), int32(10)
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app, Generation: 1},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &least, MaxReplicas: appMost,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window}}}}
}

func scaledBudget() *policyv1.PodDisruptionBudget {
	least := intstr.FromInt32(appHealthy)
	return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app, Generation: 1},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}
}

// setLoad changes how much all pods of app have to do: from less than the fewest pods to more than the most.
func (c *cluster) setLoad() {
	c.scaled.load = c.w.rng.Int64N(2 * appMost * appMilli * appPercent / 100)
	c.w.tell("ctl", "~", app, fmt.Sprintf("load=%dm", c.scaled.load))
}

// editScaled is kubectl scale, also past the autoscaler's bounds, or a rollout.
func (c *cluster) editScaled(scale bool) {
	c.ask(func(s *server) ops.Op {
		d := c.deployment(s).DeepCopy()
		d.Generation++
		edit := fmt.Sprint(d.Generation)
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, editAnnotation, edit)
		if scale {
			*d.Spec.Replicas = 1 + c.w.rng.Int32N(appMost+3)
		} else {
			d.Spec.Template.Annotations = map[string]string{editAnnotation: edit}
		}
		c.w.tell("ctl", "✎", app, fmt.Sprintf("replicas=%d %v", *d.Spec.Replicas, d.Spec.Template.Annotations))
		return &ops.Put{Resource: reconcile.Deployments, Object: d, Expect: revisionOf(d)}
	})
}

func (c *cluster) deployment(s *server) *appsv1.Deployment {
	o, ok := s.state.Get(reconcile.Deployments, "default", app)
	if !ok {
		panic("nobody removes Deployments")
	}
	return o.(*appsv1.Deployment)
}

func (c *cluster) scaledPods(s *server) int {
	if !c.options.Scaled {
		return 0
	}
	return int(*c.deployment(s).Spec.Replicas)
}

func isApp(p *api.PodRecord) bool { return p.Labels()["app"] == app }

// sample asks the nodes what the pods use, as server/usage.go does, as long as the term lasts.
func (t *term) sample() {
	s := t.s
	if s.work != t || t.engine == nil {
		return
	}
	wanted, found := t.engine.UsageWanted(), map[string]autoscale.Usage{}
	for ns, nodes := range wanted {
		into := autoscale.Usage{}
		found[ns] = into
		for _, name := range nodes {
			n := s.c.node(name)
			s.c.net.send(&s.process, &n.process, func() {
				used := n.used()
				s.c.net.send(&n.process, &s.process, func() {
					if found == nil {
						return // late answers are for nobody
					}
					for pod, m := range used {
						into[pod] = m
					}
				})
			})
		}
	}
	s.sleep(samplePatrol, func() {
		if s.work == t && len(found) > 0 {
			t.engine.ObserveUsage(found)
			t.pump()
		}
		found = nil
		s.sleep(samplePause-samplePatrol, t.sample)
	})
}

// used is what the pods of app use that run here: each its share of the load.
func (n *node) used() map[string]*metricsv1beta1.PodMetrics {
	out := map[string]*metricsv1beta1.PodMetrics{}
	for uid := range n.programs {
		if p := n.pods[uid]; p != nil && isApp(p) {
			share := resource.NewMilliQuantity(n.c.scaled.load/max(1, n.c.running()), resource.DecimalSI)
			out[p.Name] = &metricsv1beta1.PodMetrics{Timestamp: metav1.NewTime(n.time()), Window: metav1.Duration{Duration: time.Second},
				Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: corev1.ResourceList{corev1.ResourceCPU: *share}}}}
		}
	}
	return out
}

// running counts the pods of app that run anywhere.
func (c *cluster) running() (sum int64) {
	for _, n := range c.nodes {
		for uid := range n.programs {
			if p := n.pods[uid]; p != nil && isApp(p) {
				sum++
			}
		}
	}
	return sum
}
