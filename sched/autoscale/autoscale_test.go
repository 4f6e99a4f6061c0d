package autoscale

import (
	"fmt"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"pgregory.net/rapid"
)

var start = time.Unix(1_700_000_000, 0).UTC()

// state is how one pod is: what it uses (in the unit of the test's resource; "" is not measured), and what is odd about it.
type state struct {
	uses string
	odd  string
}

func pods(name corev1.ResourceName, request string, states ...state) (list []*corev1.Pod, u Usage) {
	u = Usage{}
	for i, s := range states {
		began := metav1.NewTime(start.Add(-time.Hour))
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &began, Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(start.Add(-50 * time.Minute))}}}}
		if request != "" {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(request)}
		}
		switch s.odd {
		case "pending":
			p.Status.Phase = corev1.PodPending
		case "failed":
			p.Status.Phase = corev1.PodFailed
		case "deleting":
			p.DeletionTimestamp = &began
		case "unready":
			p.Status.Conditions[0].Status = corev1.ConditionFalse
		case "never ready":
			p.Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: began}
		case "just ready":
			now := metav1.NewTime(start.Add(-time.Second))
			p.Status.StartTime, p.Status.Conditions[0].LastTransitionTime = &now, now
		}
		list = append(list, p)
		if s.uses != "" {
			u[p.Name] = &metricsv1beta1.PodMetrics{Timestamp: metav1.NewTime(start.Add(-time.Second)), Window: metav1.Duration{Duration: 15 * time.Second},
				Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: corev1.ResourceList{name: resource.MustParse(s.uses)}}}}
		}
	}
	return list, u
}

func many(n int, s state) (out []state) {
	for range n {
		out = append(out, s)
	}
	return out
}

func utilization(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}
}

func scaler(least, most int32, metrics ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Generation: 1},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &least, MaxReplicas: most, Metrics: metrics}}
}

// TestReplicas: what a utilization of 50 % asks for, of 1000m a pod. The history is empty of anything that holds back.
func TestReplicas(t *testing.T) {
	for _, c := range []struct {
		what   string
		states []state
		want   int32
	}{
		{"on target", many(3, state{"500m", ""}), 3},
		{"within the tolerance above", many(3, state{"550m", ""}), 3},
		{"within the tolerance below", many(3, state{"450m", ""}), 3},
		{"a little more", many(3, state{"560m", ""}), 4},
		{"twice as much", many(3, state{"1000m", ""}), 6},
		{"half as much", many(4, state{"250m", ""}), 2},
		{"nothing at all", many(4, state{"0", ""}), 0},
		{"an unmeasured pod, growing: it counts as idle", []state{{"1000m", ""}, {"1000m", ""}, {"", ""}}, 4},
		{"an unmeasured pod turns growth into nothing", []state{{"800m", ""}, {"", ""}}, 2},
		{"an unmeasured pod, shrinking: it counts as full", []state{{"100m", ""}, {"100m", ""}, {"", ""}, {"100m", ""}}, 3},
		{"a pending pod counts as idle when growing", []state{{"1000m", ""}, {"1000m", ""}, {"", "pending"}}, 4},
		{"a pending pod is left out when shrinking", []state{{"250m", ""}, {"250m", ""}, {"", "pending"}}, 1},
		{"a pod that has just become ready", []state{{"500m", ""}, {"1000m", "just ready"}}, 2},
		{"a pod that was never ready", []state{{"500m", ""}, {"1000m", "never ready"}}, 2},
		{"a pod that was ready once counts", []state{{"1000m", ""}, {"1000m", "unready"}}, 4},
		{"failed pods are nobody", []state{{"1000m", ""}, {"1000m", "failed"}}, 2},
		{"deleting pods are nobody", []state{{"1000m", ""}, {"1000m", "deleting"}}, 2},
	} {
		list, u := pods(corev1.ResourceCPU, "1000m", c.states...)
		used, err := usedOf(u, "ns", corev1.ResourceCPU, "")
		if err != nil {
			t.Fatal(err)
		}
		calc := calculation{pods: list, used: used, current: int32(len(list)), resource: corev1.ResourceCPU, now: start,
			tolerance: behaviorOf(&autoscalingv2.HorizontalPodAutoscalerSpec{}).tolerance}
		if err := calc.ofUtilization(50); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if calc.replicas != c.want {
			t.Errorf("%s: %d, want %d", c.what, calc.replicas, c.want)
		}
	}
}

func TestMemoryIsNotStartingWork(t *testing.T) {
	list, u := pods(corev1.ResourceMemory, "", state{"200Mi", "just ready"}, state{"200Mi", ""})
	a := scaler(1, 10, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceMemory,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(100<<20, resource.BinarySI)}}})
	d := Decide(a, Target{Replicas: 2, Current: 2, Selector: "app=a", Pods: list}, u, History{}, start)
	if d.Replicas != 4 || d.Status.CurrentMetrics[0].Resource.Current.AverageValue.Value() != 200<<20 {
		t.Fatalf("%+v", d.Status)
	}
}

func condition(d Decision, t autoscalingv2.HorizontalPodAutoscalerConditionType) string {
	for _, c := range d.Status.Conditions {
		if c.Type == t {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// TestWhatCannotBeMeasured: conditions and events of what goes wrong, in Kubernetes' words.
func TestWhatCannotBeMeasured(t *testing.T) {
	good, u := pods(corev1.ResourceCPU, "1000m", many(2, state{"1000m", ""})...)
	bare, _ := pods(corev1.ResourceCPU, "", many(2, state{"1000m", ""})...)
	object := autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{}}
	per := autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{}}
	external := autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{}}
	half := int32(50)
	container := autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
		Name: corev1.ResourceCPU, Container: "nobody", Target: autoscalingv2.MetricTarget{AverageUtilization: &half}}}
	target := Target{Replicas: 2, Current: 2, Selector: "app=a", Pods: good}
	with := func(change func(*Target)) Target {
		c := target
		change(&c)
		return c
	}
	for _, c := range []struct {
		what    string
		a       *autoscalingv2.HorizontalPodAutoscaler
		target  Target
		usage   Usage
		able    string
		active  string
		event   string
		reached int32
	}{
		{"all is well", scaler(1, 9, utilization(50)), target, u, "True SucceededRescale", "True ValidMetricFound", "SuccessfulRescale", 4},
		{"no target", scaler(1, 9, utilization(50)), Target{Err: fmt.Errorf("gone")}, u, "False FailedGetScale", "", "FailedGetScale", 0},
		{"no selector", scaler(1, 9, utilization(50)), with(func(t *Target) { t.Selector = "" }), u, "True SucceededGetScale", "False InvalidSelector", "SelectorRequired", 2},
		{"no samples", scaler(1, 9, utilization(50)), target, Usage{}, "True SucceededGetScale", "False FailedGetResourceMetric", "FailedGetResourceMetric", 2},
		{"no pods", scaler(1, 9, utilization(50)), with(func(t *Target) { t.Pods = nil }), u, "True SucceededGetScale", "False FailedGetResourceMetric", "FailedGetResourceMetric", 2},
		{"no requests", scaler(1, 9, utilization(50)), with(func(t *Target) { t.Pods = bare }), u, "True SucceededGetScale", "False FailedGetResourceMetric", "FailedGetResourceMetric", 2},
		{"no such container", scaler(1, 9, container), target, u, "True SucceededGetScale", "False FailedGetContainerResourceMetric", "FailedGetContainerResourceMetric", 2},
		{"objects", scaler(1, 9, object), target, u, "True SucceededGetScale", "False FailedGetObjectMetric", "FailedGetObjectMetric", 2},
		{"pods", scaler(1, 9, per), target, u, "True SucceededGetScale", "False FailedGetPodsMetric", "FailedGetPodsMetric", 2},
		{"external", scaler(1, 9, external), target, u, "True SucceededGetScale", "False FailedGetExternalMetric", "FailedGetExternalMetric", 2},
		{"one of two, growing", scaler(1, 9, external, utilization(50)), target, u, "True SucceededRescale", "True ValidMetricFound", "SuccessfulRescale", 4},
		{"one of two, shrinking", scaler(1, 9, external, utilization(500)), target, u, "True SucceededGetScale", "False FailedGetExternalMetric", "FailedComputeMetricsReplicas", 2},
		{"switched off", scaler(1, 9, utilization(50)), with(func(t *Target) { t.Replicas = 0 }), u, "True SucceededGetScale", "False ScalingDisabled", "", 0},
		{"above the most", scaler(1, 1, utilization(50)), target, u, "True SucceededRescale", "", "SuccessfulRescale", 1},
		{"below the least", scaler(5, 9, utilization(50)), target, u, "True SucceededRescale", "", "SuccessfulRescale", 5},
	} {
		d := Decide(c.a, c.target, c.usage, History{}, start)
		told := ""
		for _, e := range d.Events {
			if told == "" || e.Reason == c.event {
				told = e.Reason
			}
		}
		if got := condition(d, autoscalingv2.AbleToScale); got != c.able {
			t.Errorf("%s: AbleToScale is %s", c.what, got)
		}
		if got := condition(d, autoscalingv2.ScalingActive); got != c.active {
			t.Errorf("%s: ScalingActive is %s", c.what, got)
		}
		if told != c.event || d.Replicas != c.reached {
			t.Errorf("%s: event %q, %d pods", c.what, told, d.Replicas)
		}
	}
}

// run plays loads a quarter of a minute apart: each is the use of every pod, in percent of its request. It returns the numbers of pods.
func run(a *autoscalingv2.HorizontalPodAutoscaler, replicas int32, percents ...int) (out []int32, last Decision) {
	var h History
	now := start
	for _, percent := range percents {
		list, u := pods(corev1.ResourceCPU, "1000m", many(int(replicas), state{fmt.Sprintf("%dm", percent*10), ""})...)
		last = Decide(a, Target{Replicas: replicas, Current: replicas, Selector: "app=a", Pods: list}, u, h, now)
		replicas, h = last.Replicas, last.History
		a = a.DeepCopy()
		a.Status = last.Status
		out = append(out, replicas)
		now = now.Add(15 * time.Second)
	}
	return out, last
}

// TestBehavior: Invariant 101.
func TestBehavior(t *testing.T) {
	seconds := func(n int32) *int32 { return &n }
	policy := func(p autoscalingv2.ScalingPolicySelect) *autoscalingv2.ScalingPolicySelect { return &p }
	rule := func(kind autoscalingv2.HPAScalingPolicyType, value, period int32) autoscalingv2.HPAScalingPolicy {
		return autoscalingv2.HPAScalingPolicy{Type: kind, Value: value, PeriodSeconds: period}
	}
	const count, percent = autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy
	wide := resource.MustParse("0.5")
	for _, c := range []struct {
		what     string
		up, down *autoscalingv2.HPAScalingRules
		replicas int32
		loads    []int
		want     []int32
		limited  string
	}{
		{"growth doubles, or adds four", nil, nil, 1, []int{500, 500}, []int32{5, 10}, "True ScaleUpLimit"},
		{"the most pods", nil, nil, 15, []int{100}, []int32{20}, "True TooManyReplicas"},
		{"fewer pods wait five minutes", nil, nil, 10, []int{10, 10, 10}, []int32{10, 10, 10}, "False DesiredWithinRange"},
		{"or as long as they are told to", nil, &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: seconds(30)}, 10, []int{25, 25, 25}, []int32{10, 10, 5}, "False DesiredWithinRange"},
		{"two pods a minute", &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule(count, 2, 60)}}, nil, 4, []int{100, 100, 100, 100, 100}, []int32{6, 6, 6, 6, 8}, "True ScaleUpLimit"},
		{"one in ten a period", nil, &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: seconds(0), Policies: []autoscalingv2.HPAScalingPolicy{rule(percent, 10, 15)}}, 10, []int{10, 10}, []int32{9, 8}, "True ScaleDownLimit"},
		{"the slower of two policies", &autoscalingv2.HPAScalingRules{SelectPolicy: policy(autoscalingv2.MinChangePolicySelect), Policies: []autoscalingv2.HPAScalingPolicy{rule(count, 1, 15), rule(percent, 100, 15)}}, nil, 4, []int{100, 100}, []int32{5, 6}, "True ScaleUpLimit"},
		{"the faster of two policies", &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule(count, 1, 15), rule(percent, 50, 15)}}, nil, 4, []int{100}, []int32{6}, "True ScaleUpLimit"},
		{"no growth", &autoscalingv2.HPAScalingRules{SelectPolicy: policy(autoscalingv2.DisabledPolicySelect)}, nil, 4, []int{100}, []int32{4}, "True ScaleUpLimit"},
		{"growth that waits", &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: seconds(30)}, nil, 4, []int{100, 100, 100}, []int32{4, 4, 8}, "False DesiredWithinRange"},
		{"the fewest pods", nil, &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: seconds(0)}, 3, []int{0}, []int32{1}, "True TooFewReplicas"},
		{"a wide tolerance", &autoscalingv2.HPAScalingRules{Tolerance: &wide}, nil, 4, []int{74}, []int32{4}, "False DesiredWithinRange"},
	} {
		a := scaler(1, 20, utilization(50))
		if c.up != nil || c.down != nil {
			a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: c.up, ScaleDown: c.down}
		}
		got, last := run(a, c.replicas, c.loads...)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
		if l := condition(last, autoscalingv2.ScalingLimited); l != c.limited {
			t.Errorf("%s: ScalingLimited is %s, want %s", c.what, l, c.limited)
		}
	}
}

// TestBoundsHold: Invariant 101. Whatever the load, the number stays within the bounds, grows by no more than the policies allow, and comes to rest.
func TestBoundsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.Int32Range(1, 5).Draw(t, "least")
		most := least + rapid.Int32Range(0, 20).Draw(t, "more")
		a := scaler(least, most, utilization(rapid.Int32Range(10, 200).Draw(t, "target")))
		first := rapid.Int32Range(1, 30).Draw(t, "replicas")
		loads := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 12).Draw(t, "loads")
		got, _ := run(a, first, loads...)
		before := first
		for i, n := range got {
			if n < least || n > most {
				t.Fatalf("%d pods, between %d and %d are allowed", n, least, most)
			}
			if inBounds := before >= least && before <= most; inBounds && n > max(2*before, before+4) {
				t.Fatalf("from %d to %d in one step", before, n)
			}
			if i > 0 && n < before && loads[i]*int(before) > 300*int(before) {
				t.Fatalf("fewer pods under full load")
			}
			before = n
		}
	})
}
