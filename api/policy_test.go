package api

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const goodBudget = `
metadata: {name: web, namespace: default, ` + born + `}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: web}}
  unhealthyPodEvictionPolicy: AlwaysAllow
`

const budgets = "poddisruptionbudgets.policy"

func TestDisruptionBudgetValidation(t *testing.T) {
	runBad(t, budgets, goodBudget, []badObject{
		{"both bounds", []string{"minAvailable: 2", "minAvailable: 2\n  maxUnavailable: 1"}, []string{"spec: Invalid value"}},
		{"negative", []string{"minAvailable: 2", "minAvailable: -2"}, []string{"spec.minAvailable: Invalid value: -2: must be greater than or equal to 0"}},
		{"no per cent", []string{"minAvailable: 2", "maxUnavailable: two"}, []string{`spec.maxUnavailable: Invalid value: "two": a valid percent string must be a numeric string followed by an ending '%'`}},
		{"more than all", []string{"minAvailable: 2", "maxUnavailable: 101%"}, []string{`spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		{"selector", []string{"app: web", "app: 'w b'"}, []string{`spec.selector.matchLabels: Invalid value: "w b"`}},
		{"policy", []string{"AlwaysAllow", "NeverAllow"}, []string{`spec.unhealthyPodEvictionPolicy: Unsupported value: "NeverAllow": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
		{"all of it", []string{"minAvailable: 2", "maxUnavailable: 100%"}, nil},
		{"no selector", []string{"selector: {matchLabels: {app: web}}", ""}, nil},
	})
	runUpdates(t, budgets, goodBudget, []badObject{
		{"bound and selector", []string{"minAvailable: 2", "maxUnavailable: 50%", "app: web", "app: db"}, nil},
		{"to nonsense", []string{"minAvailable: 2", "minAvailable: -1"}, []string{"spec.minAvailable: Invalid value: -1"}},
	})
}

func TestDisruptionBudgetStatus(t *testing.T) {
	k := kindNamed(t, budgets)
	old := load(t, budgets, goodBudget)
	sameFaults(t, k.ValidateStatusUpdate(load(t, budgets, goodBudget+
		"status: {disruptionsAllowed: 1, currentHealthy: 3, desiredHealthy: 2, expectedPods: 3, conditions: ["+
		"{type: DisruptionAllowed, status: 'True', reason: SufficientPods, lastTransitionTime: '2026-01-01T12:00:00Z'}]}"), old))
	sameFaults(t, k.ValidateStatusUpdate(load(t, budgets, goodBudget+
		"status: {disruptionsAllowed: -1, currentHealthy: -1, desiredHealthy: -1, expectedPods: -1, conditions: [{type: A, status: 'Maybe'}]}"), old),
		"status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
		"status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
		"status.desiredHealthy: Invalid value: -1: must be greater than or equal to 0",
		"status.expectedPods: Invalid value: -1: must be greater than or equal to 0",
		`status.conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`,
		"status.conditions[0].lastTransitionTime: Required value",
		"status.conditions[0].reason: Required value",
	)
}

// Kubernetes completes nothing in a budget: what is absent has a meaning of its own.
func TestDisruptionBudgetDefaults(t *testing.T) {
	sameYAML(t, load(t, budgets, "metadata: {name: web}\nspec: {maxUnavailable: 1, selector: {}}"), `
metadata:
  name: web
spec:
  maxUnavailable: 1
  selector: {}
status:
  currentHealthy: 0
  desiredHealthy: 0
  disruptionsAllowed: 0
  expectedPods: 0
`)
}

func TestDisruptionBudgetTable(t *testing.T) {
	k := kindNamed(t, budgets)
	if got, want := headOf(k), "Name|Min Available|Max Unavailable|Allowed Disruptions|Age"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
	for text, want := range map[string]string{
		goodBudget + "status: {disruptionsAllowed: 1}":                "web|2|N/A|1|5m",
		edit(t, goodBudget, "minAvailable: 2", "maxUnavailable: 25%"): "web|N/A|25%|0|5m",
	} {
		if got := cellsOf(k, text, t); got != want {
			t.Errorf("row %s, want %s", got, want)
		}
	}
}

const goodClass = `
metadata: {name: high, ` + born + `}
value: 1000
globalDefault: true
description: For what must run.
`

const classes = "priorityclasses.scheduling.k8s.io"

func TestPriorityClassValidation(t *testing.T) {
	runBad(t, classes, goodClass, []badObject{
		{"too high", []string{"1000", "1000000001"}, []string{"value: Forbidden: maximum allowed value of a user defined priority is 1000000000"}},
		{"highest", []string{"1000", "1000000000"}, nil},
		{"below zero", []string{"1000", "-5"}, nil},
		{"policy", []string{"value", "preemptionPolicy: Always\nvalue"}, []string{`preemptionPolicy: Unsupported value: "Always": supported values: "Never", "PreemptLowerPriority"`}},
		{"empty policy", []string{"value", "preemptionPolicy: ''\nvalue"}, []string{"preemptionPolicy: Required value"}},
		{"the system's", []string{"high", "system-cluster-critical", "1000", "2000000000", "true", "false"}, nil},
		{"reserved name", []string{"high", "system-mine"}, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
		}},
		{"the system's with another value", []string{"high", "system-node-critical"}, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
		}},
		{"the system's as default", []string{"high", "system-node-critical", "1000", "2000001000"}, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: globalDefault of system-node-critical PriorityClass must be false",
		}},
	})
	runUpdates(t, classes, goodClass, []badObject{
		{"value", []string{"1000", "1001"}, []string{"value: Forbidden: may not be changed in an update."}},
		{"policy", []string{"value", "preemptionPolicy: Never\nvalue"}, []string{`preemptionPolicy: Invalid value: "Never": field is immutable`}},
		{"default and text", []string{"true", "false", "For what", "For all that"}, nil},
	})
	for _, c := range SystemPriorityClasses() {
		sameFaults(t, kindNamed(t, classes).Validate(c))
		if PriorityClassMayGo(c.Name) == nil {
			t.Errorf("class %s may be deleted", c.Name)
		}
	}
	if err := PriorityClassMayGo("high"); err != nil {
		t.Errorf("a user's class may not be deleted: %v", err)
	}
}

func TestPriorityClassDefaults(t *testing.T) {
	class := load(t, classes, "metadata: {name: low}\nvalue: 0")
	kindNamed(t, classes).PrepareForCreate(class)
	sameYAML(t, class, `
metadata:
  generation: 1
  name: low
preemptionPolicy: PreemptLowerPriority
value: 0
`)
}

func TestPriorityClassTable(t *testing.T) {
	k := kindNamed(t, classes)
	if got, want := headOf(k), "Name|Value|Global-Default|Age|PreemptionPolicy"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
	if got, want := cellsOf(k, goodClass, t), "high|1000|true|5m|PreemptLowerPriority"; got != want {
		t.Errorf("row %s, want %s", got, want)
	}
}

func TestOneGlobalDefault(t *testing.T) {
	class := func(name string, value int32, byDefault bool) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, GlobalDefault: byDefault}
	}
	low, high := class("low", 1, true), class("high", 9, true)
	if got := GlobalDefaultPriorityClass([]*schedulingv1.PriorityClass{class("least", 0, false), high, low}); got != low {
		t.Errorf("the default is %v, want the lower of two", got)
	}
	if got := GlobalDefaultPriorityClass([]*schedulingv1.PriorityClass{class("least", 0, false)}); got != nil {
		t.Errorf("the default is %v, want none", got)
	}
	if err := CheckGlobalDefault(high, low); err == nil || err.Error() != "PriorityClass low is already marked as default. Only one default can exist" {
		t.Errorf("a second default: %v", err)
	}
	for _, c := range []*schedulingv1.PriorityClass{low, class("other", 3, false)} {
		if err := CheckGlobalDefault(c, low); err != nil {
			t.Errorf("%s beside the default: %v", c.Name, err)
		}
	}
	if err := CheckGlobalDefault(high, nil); err != nil {
		t.Errorf("the first default: %v", err)
	}
}

func TestResolvePriority(t *testing.T) {
	never := corev1.PreemptNever
	known := map[string]*schedulingv1.PriorityClass{
		"meek": {ObjectMeta: metav1.ObjectMeta{Name: "meek"}, Value: 7, PreemptionPolicy: &never},
		"old":  {ObjectMeta: metav1.ObjectMeta{Name: "old"}, Value: 3},
	}
	for name, c := range map[string]struct{ pod, byDefault, want string }{
		"no class":          {"{}", "", "'' 0 PreemptLowerPriority"},
		"default class":     {"{}", "meek", "'meek' 7 Never"},
		"named class":       {"{priorityClassName: meek}", "old", "'meek' 7 Never"},
		"class of old":      {"{priorityClassName: old}", "", "'old' 3 "},
		"the same again":    {"{priorityClassName: meek, priority: 7, preemptionPolicy: Never}", "", "'meek' 7 Never"},
		"unknown class":     {"{priorityClassName: nobody}", "", "no PriorityClass with name nobody was found"},
		"another number":    {"{priorityClassName: meek, priority: 8}", "", "the integer value of priority (8) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name"},
		"number from thin":  {"{priority: 8}", "", "the integer value of priority (8) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name"},
		"another policy":    {"{priorityClassName: meek, preemptionPolicy: PreemptLowerPriority}", "", "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"},
		"policy of its own": {"{priorityClassName: old, preemptionPolicy: Never}", "", "'old' 3 Never"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &load(t, "pods", "spec: "+c.pod).(*corev1.Pod).Spec
			before := s.DeepCopy()
			err := ResolvePriority(s, func(n string) *schedulingv1.PriorityClass { return known[n] }, known[c.byDefault])
			got := fmt.Sprintf("'%s' %d %s", s.PriorityClassName, valueOf(s.Priority), valueOf(s.PreemptionPolicy))
			if err != nil {
				got = err.Error()
				if !equality.Semantic.DeepEqual(s, before) {
					t.Error("a refused pod was changed")
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestKeepPriority(t *testing.T) {
	old := &load(t, "pods", "spec: {priority: 7, preemptionPolicy: Never}").(*corev1.Pod).Spec
	s := &load(t, "pods", "spec: {}").(*corev1.Pod).Spec
	KeepPriority(s, old)
	if valueOf(s.Priority) != 7 || valueOf(s.PreemptionPolicy) != corev1.PreemptNever {
		t.Errorf("an update lost the priority: %v %v", s.Priority, s.PreemptionPolicy)
	}
	changed := &load(t, "pods", "spec: {priority: 8}").(*corev1.Pod).Spec
	KeepPriority(changed, old)
	if *changed.Priority != 8 {
		t.Error("a changed priority was hidden from validation")
	}
}
