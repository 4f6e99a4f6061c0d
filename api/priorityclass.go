package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The two classes that every cluster has; their priorities lie above what a user may define.
const (
	PrioritySystemCluster = "system-cluster-critical"
	PrioritySystemNode    = "system-node-critical"

	systemPriorityPrefix  = "system-"
	systemClusterPriority = 2 * userPriorityMax
	systemNodePriority    = systemClusterPriority + 1000
)

func init() {
	Register(&Kind{
		GroupVersion: schedulingv1.SchemeGroupVersion,
		Name:         "PriorityClass", Resource: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"},
		ClusterScoped: true,
		New:           func() runtime.Object { return &schedulingv1.PriorityClass{} },
		NewList:       func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Default: with(func(c *schedulingv1.PriorityClass) {
			fillPtr(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
		}),
		// What a class means never changes, so its generation is counted once.
		PrepareForCreate: with(func(c *schedulingv1.PriorityClass) { c.Generation = 1 }),
		Validate:         check(validatePriorityClass),
		ValidateUpdate:   checkOld(validatePriorityClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			numberColumn("Value", "The priority of pods of this class."),
			boolColumn("Global-Default", "Whether pods that name no class are of this one."),
			ageColumn,
			textColumn("PreemptionPolicy", "Whether pods of this class may evict pods of lower priority."),
		},
		Row: row(func(c *schedulingv1.PriorityClass, now time.Time) []any {
			return []any{
				c.Name, int64(c.Value), c.GlobalDefault, age(c.CreationTimestamp, now), string(valueOf(c.PreemptionPolicy)),
			}
		}),
	})
}

// SystemPriorityClasses are the classes that a cluster makes for itself when it begins. They cannot be deleted.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	return []*schedulingv1.PriorityClass{
		systemPriorityClass(PrioritySystemNode, systemNodePriority,
			"Used for system critical pods that must not be moved from their current node."),
		systemPriorityClass(PrioritySystemCluster, systemClusterPriority,
			"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

func systemPriorityClass(name string, value int32, description string) *schedulingv1.PriorityClass {
	c := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
	fillPtr(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
	return c
}

// PriorityClassMayGo refuses the deletion of a class that the cluster itself needs.
func PriorityClassMayGo(name string) error {
	for _, c := range SystemPriorityClasses() {
		if c.Name == name {
			return errors.New("this is a system priority class and cannot be deleted")
		}
	}
	return nil
}

func validatePriorityClass(c *schedulingv1.PriorityClass) (errs field.ErrorList) {
	switch {
	case strings.HasPrefix(c.Name, systemPriorityPrefix):
		if err := knownSystemClass(c); err != nil {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				fmt.Sprintf("priority class names with '%s' prefix are reserved for system use only. error: %v", systemPriorityPrefix, err)))
		}
	case c.Value > userPriorityMax:
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", userPriorityMax)))
	}
	if p := c.PreemptionPolicy; p != nil {
		errs = append(errs, requiredOneOf(*p, field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// knownSystemClass says why a class with a name of the system is none of its classes.
func knownSystemClass(c *schedulingv1.PriorityClass) error {
	for _, known := range SystemPriorityClasses() {
		switch {
		case known.Name != c.Name:
			continue
		case known.Value != c.Value:
			return fmt.Errorf("value of %s PriorityClass must be %d", known.Name, known.Value)
		case known.GlobalDefault != c.GlobalDefault:
			return fmt.Errorf("globalDefault of %s PriorityClass must be %t", known.Name, known.GlobalDefault)
		}
		return nil
	}
	return fmt.Errorf("%s is not a known system priority class", c.Name)
}

// validatePriorityClassUpdate: pods copy what their class says, so it must not say something else later.
func validatePriorityClassUpdate(c, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if c.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return append(errs, validation.ValidateImmutableField(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
}

// GlobalDefaultPriorityClass picks the class of pods that name none: the one marked so, and of several the lowest. It gives nil if none is.
func GlobalDefaultPriorityClass(classes []*schedulingv1.PriorityClass) (found *schedulingv1.PriorityClass) {
	for _, c := range classes {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}

// CheckGlobalDefault refuses a second class that wants to be the default; current is the one that is (nil if none). The error is what
// Kubernetes forbids the write with.
func CheckGlobalDefault(c, current *schedulingv1.PriorityClass) error {
	if !c.GlobalDefault || current == nil || current.Name == c.Name {
		return nil
	}
	return fmt.Errorf("PriorityClass %s is already marked as default. Only one default can exist", current.Name)
}

// ResolvePriority fills in, in place, the priority of a new pod from its class: the one that it names, else the default (nil if the
// cluster has none), else zero. A pod may bring its priority and preemption policy, but no others than its class has. lookup gives nil
// for a class that does not exist. The errors are what Kubernetes forbids the pod with; the pod is then as it was.
func ResolvePriority(s *corev1.PodSpec, lookup func(name string) *schedulingv1.PriorityClass, byDefault *schedulingv1.PriorityClass) error {
	class, err := classOf(s.PriorityClassName, lookup, byDefault)
	if err != nil {
		return err
	}
	if s.Priority != nil && *s.Priority != class.Value {
		return fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *s.Priority, class.Value)
	}
	policy := class.PreemptionPolicy
	if policy != nil && s.PreemptionPolicy != nil && *s.PreemptionPolicy != *policy {
		return fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *s.PreemptionPolicy, *policy)
	}
	s.PriorityClassName = class.Name
	fillPtr(&s.Priority, class.Value)
	if policy != nil {
		fillPtr(&s.PreemptionPolicy, *policy)
	}
	return nil
}

func classOf(
	name string, lookup func(string) *schedulingv1.PriorityClass, byDefault *schedulingv1.PriorityClass,
) (*schedulingv1.PriorityClass, error) {
	switch {
	case name != "":
		if c := lookup(name); c != nil {
			return c, nil
		}
		return nil, fmt.Errorf("no PriorityClass with name %s was found", name)
	case byDefault != nil:
		return byDefault, nil
	}
	preempt := corev1.PreemptLowerPriority
	return &schedulingv1.PriorityClass{PreemptionPolicy: &preempt}, nil
}

// KeepPriority restores, in an updated pod, the priority that it was created with, for clients that do not know the fields.
func KeepPriority(s, old *corev1.PodSpec) {
	if s.Priority == nil {
		s.Priority = old.Priority
	}
	if s.PreemptionPolicy == nil {
		s.PreemptionPolicy = old.PreemptionPolicy
	}
}
