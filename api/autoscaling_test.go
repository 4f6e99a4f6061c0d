package api

import (
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

const autoscalers = "horizontalpodautoscalers.autoscaling"

const goodAutoscaler = `
metadata: {name: web, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
  - {type: ContainerResource, containerResource: {name: memory, container: main, target: {type: AverageValue, averageValue: 1Gi}}}
  - {type: Pods, pods: {metric: {name: hits}, target: {type: AverageValue, averageValue: 100}}}
  - {type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: hits}, target: {type: Value, value: 1k}}}
  - {type: External, external: {metric: {name: queue, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: 30}}}
  behavior:
    scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}], tolerance: 50m}
    scaleDown: {stabilizationWindowSeconds: 60}
`

func TestAutoscalerValidation(t *testing.T) {
	const m = "spec.metrics"
	const up, down = "spec.behavior.scaleUp.", "spec.behavior.scaleDown."
	const target = "spec.scaleTargetRef."
	runBad(t, autoscalers, goodAutoscaler, []badObject{
		{"negative", []string{"minReplicas: 2", "minReplicas: -1", "maxReplicas: 5", "maxReplicas: -2"}, []string{
			"spec.minReplicas: Invalid value: -1: must be greater than or equal to 0", "spec.maxReplicas: Invalid value: -2: must be greater than or equal to 1",
			"spec.maxReplicas: Invalid value: -2: must be greater than or equal to `minReplicas`",
		}},
		{"no most", []string{"  maxReplicas: 5\n", ""}, []string{"spec.maxReplicas: Required value", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"}},
		{"to zero", []string{"minReplicas: 2", "minReplicas: 0"}, nil},
		{"to zero without a way back", []string{"minReplicas: 2", "minReplicas: 0", "type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: hits}, target: {type: Value, value: 1k}}",
			"type: Pods, pods: {metric: {name: a}, target: {type: AverageValue, averageValue: 1}}", "type: External, external: {metric: {name: queue, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: 30}}",
			"type: Pods, pods: {metric: {name: b}, target: {type: AverageValue, averageValue: 1}}"}, []string{
			m + ": Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
		}},
		{"no target", []string{"{apiVersion: apps/v1, kind: Deployment, name: web}", "{}"}, []string{
			target + "kind: Required value", target + "name: Required value", target + `apiVersion: Invalid value: "": apiVersion must specify API group`,
		}},
		{"target's form", []string{"{apiVersion: apps/v1, kind: Deployment, name: web}", "{apiVersion: a/b/c, kind: a/b, name: ..}"}, []string{
			target + `kind: Invalid value: "a/b": may not contain '/'`, target + `name: Invalid value: "..": may not be '..'`,
			target + `apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`,
		}},
		{"controller", []string{"apps/v1, kind: Deployment", "v1, kind: ReplicationController"}, nil},
		{"no type", []string{"{type: Pods, ", "{"}, []string{m + "[2].type: Required value: must specify a metric source type", m + `[2].type: Unsupported value: ""`}},
		{"type", []string{"type: Pods,", "type: Cows,"}, []string{m + `[2].type: Unsupported value: "Cows": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"`}},
		{"no source", []string{", pods: {metric: {name: hits}, target: {type: AverageValue, averageValue: 100}}", ""}, []string{m + "[2].pods: Required value: must populate information for the given metric source"}},
		{"two sources", []string{"type: Pods,", "type: Pods, resource: {name: cpu},"}, []string{m + "[2].resource: Forbidden: must populate the given metric source only"}},
		{"other source", []string{"type: Pods,", "type: Object,"}, []string{m + "[2].object: Required value: must populate information for the given metric source"}},
		{"no resource", []string{"{name: cpu, target: {type: Utilization, averageUtilization: 50}}", "{target: {type: Much}}"}, []string{
			m + "[0].resource.name: Required value: must specify a resource name",
			m + `[0].resource.target.type: Invalid value: "Much": must be either Utilization, Value, or AverageValue`,
			m + "[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
		}},
		{"both values", []string{"averageUtilization: 50", "averageUtilization: 0, averageValue: 0"}, []string{
			m + `[0].resource.target.averageValue: Invalid value: "0": must be positive`, m + "[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
			m + "[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
		}},
		{"no container", []string{"container: main, ", ""}, []string{m + "[1].containerResource.container: Required value: must specify a container"}},
		{"no pod value", []string{"{type: AverageValue, averageValue: 100}", "{}"}, []string{
			m + "[2].pods.target.type: Required value: must specify a metric target type", m + `[2].pods.target.type: Invalid value: ""`,
			m + "[2].pods.target.averageValue: Required value: must specify a positive target averageValue",
		}},
		{"metric's name", []string{"metric: {name: hits}, target: {type: Av", "metric: {name: a/b}, target: {type: Av"}, []string{m + `[2].pods.metric.name: Invalid value: "a/b": may not contain '/'`}},
		{"no metric's name", []string{"metric: {name: hits}, target: {type: Av", "metric: {}, target: {type: Av"}, []string{m + "[2].pods.metric.name: Required value: must specify a metric name"}},
		{"object", []string{"{apiVersion: v1, kind: Service, name: web}", "{apiVersion: a/b/c, name: web}", "type: Value, value: 1k", "type: Value"}, []string{
			m + "[3].object.describedObject.kind: Required value", m + `[3].object.describedObject.apiVersion: Invalid value: "a/b/c"`,
			m + "[3].object.target.averageValue: Required value: must set either a target value or averageValue",
		}},
		{"external without value", []string{"type: AverageValue, averageValue: 30", "type: AverageValue"}, []string{
			m + "[4].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
		}},
		{"external with two", []string{"averageValue: 30", "averageValue: 30, value: 30"}, []string{
			m + "[4].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
		}},
		{"policies", []string{"[{type: Pods, value: 1, periodSeconds: 60}], tolerance: 50m", "[{type: Cows}, {type: Pods, value: 1, periodSeconds: 1801}], selectPolicy: Mean, tolerance: -50m"}, []string{
			up + `policies[0].type: Unsupported value: "Cows": supported values: "Percent", "Pods"`, up + "policies[0].value: Invalid value: 0: must be greater than zero",
			up + "policies[0].periodSeconds: Invalid value: 0: must be greater than zero", up + "policies[1].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
			up + `selectPolicy: Unsupported value: "Mean": supported values: "Disabled", "Max", "Min"`, up + `tolerance: Invalid value: "-50m": must be greater than or equal to 0`,
		}},
		{"no policies", []string{"[{type: Pods, value: 1, periodSeconds: 60}]", "[]"}, []string{up + "policies: Required value: must specify at least one Policy"}},
		{"long window", []string{"WindowSeconds: 60", "WindowSeconds: 3601"}, []string{down + "stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"}},
		{"negative window", []string{"WindowSeconds: 60", "WindowSeconds: -1"}, []string{down + "stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero"}},
	})
	k := kindNamed(t, autoscalers)
	old := load(t, autoscalers, edit(t, goodAutoscaler, "apiVersion: apps/v1, ", ""))
	sameFaults(t, k.ValidateUpdate(old, old.DeepCopyObject()))
	sameFaults(t, k.ValidateUpdate(old, load(t, autoscalers, goodAutoscaler)), target+`apiVersion: Invalid value: ""`)
	sameFaults(t, k.ValidateStatusUpdate(load(t, autoscalers, goodAutoscaler+"status: {currentReplicas: -1, desiredReplicas: -2}"), old),
		"status.currentReplicas: Invalid value: -1", "status.desiredReplicas: Invalid value: -2")
}

func TestAutoscalerDefaults(t *testing.T) {
	const bare = "metadata: {name: a}\nspec: {maxReplicas: 3, scaleTargetRef: {kind: K, name: web}, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}\n"
	sameYAML(t, load(t, autoscalers, bare), `
metadata:
  name: a
spec:
  behavior:
    scaleDown:
      policies:
      - periodSeconds: 15
        type: Percent
        value: 100
      selectPolicy: Max
      stabilizationWindowSeconds: 5
    scaleUp:
      policies:
      - periodSeconds: 15
        type: Pods
        value: 4
      - periodSeconds: 15
        type: Percent
        value: 100
      selectPolicy: Max
      stabilizationWindowSeconds: 0
  maxReplicas: 3
  metrics:
  - resource:
      name: cpu
      target:
        averageUtilization: 80
        type: Utilization
    type: Resource
  minReplicas: 1
  scaleTargetRef:
    kind: K
    name: web
status:
  currentMetrics: null
  desiredReplicas: 0
`)
}

func TestAutoscalerTable(t *testing.T) {
	k := kindNamed(t, autoscalers)
	if got, want := headOf(k), "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age"; got != want {
		t.Errorf("columns\n got %s\nwant %s", got, want)
	}
	base := edit(t, goodAutoscaler, "{name: web, namespace", "{name: web, "+born+", namespace") + "status: {currentReplicas: 3, currentMetrics: ["
	metrics := goodAutoscaler[strings.Index(goodAutoscaler, "  metrics:\n")+len("  metrics:\n") : strings.Index(goodAutoscaler, "  behavior")]
	lines := strings.SplitAfter(strings.TrimSuffix(metrics, "\n"), "\n")
	only := func(spec, status string) string { return edit(t, base, metrics, "  - "+spec+"\n") + status + "]}" }
	for text, want := range map[string]string{
		base + "]}": "cpu: <unknown>/50%, memory: <unknown>/1Gi + 3 more...",
		base + "{type: Resource, resource: {name: cpu, current: {averageUtilization: 7, averageValue: 3m}}}]}":                                                                     "cpu: 7%/50%, memory: <unknown>/1Gi + 3 more...",
		only(strings.TrimPrefix(strings.TrimSpace(lines[1]), "- "), "{type: ContainerResource, containerResource: {name: memory, container: main, current: {averageValue: 3Mi}}}"): "memory: 3Mi/1Gi",
		only(strings.TrimPrefix(strings.TrimSpace(lines[2]), "- "), "{type: Pods, pods: {metric: {name: hits}, current: {averageValue: 9}}}"):                                      "9/100",
		only(strings.TrimPrefix(strings.TrimSpace(lines[3]), "- "), "{type: Object, object: {metric: {name: hits}, describedObject: {}, current: {value: 8}}}"):                    "8/1k",
		only(strings.TrimPrefix(strings.TrimSpace(lines[4]), "- "), "{type: External, external: {metric: {name: queue}, current: {averageValue: 7}}}"):                             "7/30 (avg)",
		only("{type: Resource, resource: {name: cpu, target: {type: Utilization}}}", ""):                                                                                           "cpu: <unknown>/<auto>",
		only("{type: Cows}", ""): "<unknown type>",
	} {
		if got, want := cellsOf(k, text, t), "web|Deployment/web|"+want+"|2|5|3|5m"; got != want {
			t.Errorf("row\n got %s\nwant %s", got, want)
		}
	}
}

// toV1 and fromV1 go the way that requests go.
func toV1(t testing.TB, hub runtime.Object) *autoscalingv1.HorizontalPodAutoscaler {
	t.Helper()
	out, err := Scheme.ConvertToVersion(hub, autoscalingv1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	return out.(*autoscalingv1.HorizontalPodAutoscaler)
}

func fromV1(t testing.TB, form runtime.Object) *autoscalingv2.HorizontalPodAutoscaler {
	t.Helper()
	out, err := Scheme.ConvertToVersion(form, autoscalingv2.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	return out.(*autoscalingv2.HorizontalPodAutoscaler)
}

// TestAutoscalerInTheFirstVersion holds the words of the annotations: clients read them, and old backups hold them.
func TestAutoscalerInTheFirstVersion(t *testing.T) {
	hub := load(t, autoscalers, goodAutoscaler+`status:
  currentReplicas: 3
  desiredReplicas: 4
  observedGeneration: 2
  currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 7, averageValue: 3m}}}]
  conditions: [{type: AbleToScale, status: "True", lastTransitionTime: "2026-01-01T12:00:00Z", reason: r, message: m}]
`)
	before := hub.DeepCopyObject()
	form := toV1(t, hub)
	if !equality.Semantic.DeepEqual(hub, before) {
		t.Error("the conversion changed its source")
	}
	annotations := form.Annotations
	form.Annotations, form.TypeMeta = nil, metav1.TypeMeta{}
	sameYAML(t, form, `
metadata:
  name: web
  namespace: default
spec:
  maxReplicas: 5
  minReplicas: 2
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  targetCPUUtilizationPercentage: 50
status:
  currentCPUUtilizationPercentage: 7
  currentReplicas: 3
  desiredReplicas: 4
  observedGeneration: 2
`)
	for key, want := range map[string]string{
		"metrics": `[{"type":"ContainerResource","containerResource":{"name":"memory","targetAverageValue":"1Gi","container":"main"}},` +
			`{"type":"Pods","pods":{"metricName":"hits","targetAverageValue":"100"}},` +
			`{"type":"Object","object":{"target":{"kind":"Service","name":"web","apiVersion":"v1"},"metricName":"hits","targetValue":"1k"}},` +
			`{"type":"External","external":{"metricName":"queue","metricSelector":{"matchLabels":{"a":"b"}},"targetAverageValue":"30"}}]`,
		"current-metrics": `[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"3m"}}]`,
		"conditions":      `[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T12:00:00Z","reason":"r","message":"m"}]`,
		"behavior": `{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":60}],"Tolerance":"50m"},` +
			`"ScaleDown":{"StabilizationWindowSeconds":60,"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}`,
	} {
		if got := annotations["autoscaling.alpha.kubernetes.io/"+key]; got != want {
			t.Errorf("annotation %s\n got %s\nwant %s", key, got, want)
		}
	}
	if len(annotations) != 4 {
		t.Errorf("%d annotations", len(annotations))
	}
}

func TestAutoscalerFromTheFirstVersion(t *testing.T) {
	read := func(text string) *autoscalingv2.HorizontalPodAutoscaler {
		form := &autoscalingv1.HorizontalPodAutoscaler{}
		if err := yaml.UnmarshalStrict([]byte(text), form); err != nil {
			t.Fatal(err)
		}
		return fromV1(t, form)
	}
	const spec = "spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: n}"
	bare := read("metadata: {name: a}\n" + spec + "}")
	if m := bare.Spec.Metrics; len(m) != 1 || *m[0].Resource.Target.AverageUtilization != 80 || *bare.Spec.MinReplicas != 1 {
		t.Errorf("defaults: %+v", bare.Spec)
	}
	sameFaults(t, kindNamed(t, autoscalers).Validate(bare))
	broken := read("metadata: {name: a, annotations: {x: y, autoscaling.alpha.kubernetes.io/metrics: '[{', autoscaling.alpha.kubernetes.io/behavior: '7'}}\n" + spec +
		", targetCPUUtilizationPercentage: 9}\nstatus: {currentReplicas: 0, desiredReplicas: 0, currentCPUUtilizationPercentage: 5}")
	if m := broken.Spec.Metrics; len(m) != 1 || *m[0].Resource.Target.AverageUtilization != 9 || broken.Spec.Behavior != nil || len(broken.Annotations) != 1 {
		t.Errorf("broken annotations: %+v", broken)
	}
	if m := broken.Status.CurrentMetrics; len(m) != 1 || *m[0].Resource.Current.AverageUtilization != 5 {
		t.Errorf("current metrics: %+v", m)
	}
}

func TestCodecsSpeakTheFirstVersionOfAutoscalers(t *testing.T) {
	sent := []byte(`{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{"maxReplicas":3}}`)
	hub, err := runtime.Decode(Codecs.LegacyCodec(autoscalingv2.SchemeGroupVersion), sent)
	if err != nil {
		t.Fatal(err)
	}
	if a := hub.(*autoscalingv2.HorizontalPodAutoscaler); a.Spec.MaxReplicas != 3 || len(a.Spec.Metrics) != 1 {
		t.Errorf("%+v", a.Spec)
	}
	got, err := runtime.Encode(Codecs.LegacyCodec(autoscalingv1.SchemeGroupVersion), hub)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(got); !strings.Contains(text, `"apiVersion":"autoscaling/v1"`) || !strings.Contains(text, `"targetCPUUtilizationPercentage":80`) {
		t.Error(text)
	}
}

func TestAutoscalerDropsTheAnnotationsOfTheFirstVersion(t *testing.T) {
	k := kindNamed(t, autoscalers)
	text := edit(t, goodAutoscaler, "{name: web,", "{name: web, annotations: {x: y, autoscaling.alpha.kubernetes.io/metrics: '[]'},")
	created, updated, status := load(t, autoscalers, text), load(t, autoscalers, text), load(t, autoscalers, text)
	k.PrepareForCreate(created)
	k.PrepareForUpdate(updated, created)
	k.PrepareForStatusUpdate(status, created)
	for _, o := range []runtime.Object{created, updated, status} {
		if got := o.(*autoscalingv2.HorizontalPodAutoscaler).Annotations; len(got) != 1 {
			t.Errorf("annotations %v", got)
		}
	}
}

func TestAutoscalerListsConvert(t *testing.T) {
	hub := load(t, autoscalers, goodAutoscaler).(*autoscalingv2.HorizontalPodAutoscaler)
	list := &autoscalingv2.HorizontalPodAutoscalerList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []autoscalingv2.HorizontalPodAutoscaler{*hub, *hub}}
	out, err := Scheme.ConvertToVersion(list, autoscalingv1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	if l := out.(*autoscalingv1.HorizontalPodAutoscalerList); l.ResourceVersion != "7" || len(l.Items) != 2 || *l.Items[1].Spec.TargetCPUUtilizationPercentage != 50 {
		t.Errorf("%+v", l)
	}
}

// TestAutoscalerSurvivesTheFirstVersion: what the hub holds goes through the other version unharmed, but for the metric that has a
// field there, which comes back last. From then on not even that changes.
func TestAutoscalerSurvivesTheFirstVersion(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hub := drawAutoscaler(rt)
		Scheme.Default(hub)
		form := toV1(t, hub)
		back := fromV1(t, form)
		back.TypeMeta = metav1.TypeMeta{}
		cpu, others := splitCPU(hub.Spec.Metrics)
		want := hub.DeepCopy()
		want.Spec.Metrics = others
		if cpu != nil {
			want.Spec.Metrics = append(others, cpuMetric(*cpu))
		}
		if !equality.Semantic.DeepEqual(want, back) {
			rt.Fatalf("sent %v\nform %v\ngot  %v", want, form, back)
		}
		if again := toV1(t, back); !equality.Semantic.DeepEqual(form, again) {
			rt.Fatalf("form %v\nthen %v", form, again)
		}
	})
}

func drawAutoscaler(t *rapid.T) *autoscalingv2.HorizontalPodAutoscaler {
	a := &autoscalingv2.HorizontalPodAutoscaler{}
	a.Name = "a"
	if rapid.Bool().Draw(t, "annotated") {
		a.Annotations = map[string]string{"x": "y"}
	}
	a.Spec.MaxReplicas = rapid.Int32Range(1, 9).Draw(t, "most")
	a.Spec.Metrics = rapid.SliceOfN(rapid.Custom(drawMetric), 0, 4).Draw(t, "metrics")
	a.Status.CurrentMetrics = rapid.SliceOfN(rapid.Custom(drawMetricStatus), 0, 3).Draw(t, "current")
	if rapid.Bool().Draw(t, "behaves") {
		a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: drawRules(t), ScaleDown: drawRules(t)}
	}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		a.Status.Conditions = append(a.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
			Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1, 0), Reason: "r", Message: "<m>",
			ObservedGeneration: maybe(t, rapid.Int64Range(1, 9)),
		})
	}
	return a
}

func maybe[T any](t *rapid.T, g *rapid.Generator[T]) *T {
	return rapid.Ptr(g, true).Draw(t, "optional")
}

func drawRules(t *rapid.T) *autoscalingv2.HPAScalingRules {
	if rapid.Bool().Draw(t, "unruled") {
		return nil
	}
	r := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: maybe(t, rapid.Int32Range(0, 9)),
		SelectPolicy: maybe(t, rapid.SampledFrom([]autoscalingv2.ScalingPolicySelect{autoscalingv2.MaxChangePolicySelect, autoscalingv2.DisabledPolicySelect}))}
	if rapid.Bool().Draw(t, "policy") {
		r.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 3, PeriodSeconds: 7}}
	}
	if rapid.Bool().Draw(t, "tolerance") {
		r.Tolerance = drawQuantity(t)
	}
	return r
}

func drawQuantity(t *rapid.T) *resource.Quantity {
	q := resource.MustParse(rapid.SampledFrom([]string{"1", "100m", "3Gi", "5k"}).Draw(t, "quantity"))
	return &q
}

func drawIdentifier(t *rapid.T) autoscalingv2.MetricIdentifier {
	id := autoscalingv2.MetricIdentifier{Name: rapid.SampledFrom([]string{"hits", "queue"}).Draw(t, "name")}
	if rapid.Bool().Draw(t, "selected") {
		id.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	}
	return id
}

var described = autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Service", Name: "web"}

// drawValueTarget is a total, or an average.
func drawValueTarget(t *rapid.T) autoscalingv2.MetricTarget {
	if rapid.Bool().Draw(t, "average") {
		return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: drawQuantity(t)}
	}
	return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: drawQuantity(t)}
}

func drawResourceTarget(t *rapid.T) autoscalingv2.MetricTarget {
	if rapid.Bool().Draw(t, "average") {
		return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: drawQuantity(t)}
	}
	percent := rapid.Int32Range(1, 99).Draw(t, "percent")
	return autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}
}

func drawResourceName(t *rapid.T) corev1.ResourceName {
	return rapid.SampledFrom([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}).Draw(t, "resource")
}

func drawMetric(t *rapid.T) autoscalingv2.MetricSpec {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType,
			Object: &autoscalingv2.ObjectMetricSource{DescribedObject: described, Metric: drawIdentifier(t), Target: drawValueTarget(t)}}
	case 1:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: drawIdentifier(t),
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: drawQuantity(t)}}}
	case 2:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: drawResourceName(t), Container: "c", Target: drawResourceTarget(t)}}
	case 3:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{Metric: drawIdentifier(t), Target: drawValueTarget(t)}}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{Name: drawResourceName(t), Target: drawResourceTarget(t)}}
}

func drawMetricStatus(t *rapid.T) autoscalingv2.MetricStatus {
	value := drawValueTarget(t)
	current := autoscalingv2.MetricValueStatus{Value: value.Value, AverageValue: value.AverageValue}
	used := autoscalingv2.MetricValueStatus{AverageValue: drawQuantity(t), AverageUtilization: maybe(t, rapid.Int32Range(0, 99))}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return autoscalingv2.MetricStatus{Type: autoscalingv2.ObjectMetricSourceType,
			Object: &autoscalingv2.ObjectMetricStatus{DescribedObject: described, Metric: drawIdentifier(t), Current: current}}
	case 1:
		return autoscalingv2.MetricStatus{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricStatus{Metric: drawIdentifier(t),
			Current: autoscalingv2.MetricValueStatus{AverageValue: drawQuantity(t)}}}
	case 2:
		return autoscalingv2.MetricStatus{Type: autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{Name: drawResourceName(t), Container: "c", Current: used}}
	case 3:
		return autoscalingv2.MetricStatus{Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricStatus{Metric: drawIdentifier(t), Current: current}}
	}
	return autoscalingv2.MetricStatus{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{Name: drawResourceName(t), Current: used}}
}
