package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// remains is what a namespace waits for: how many objects of each kind, and how many that each finalizer holds.
type remains struct {
	objects    map[schema.GroupResource]int
	finalizers map[string]int
}

func newRemains() remains {
	return remains{map[schema.GroupResource]int{}, map[string]int{}}
}

func (r remains) add(gr schema.GroupResource, finalizers []string) {
	r.objects[gr]++
	for _, f := range finalizers {
		r.finalizers[f]++
	}
}

// conditions are those that a namespace has while it goes. Discovery and the parsing of versions cannot fail here, nor can the
// deletion of an object do more than wait; people and tools look for all of them.
func (r remains) conditions() []corev1.NamespaceCondition {
	remaining := corev1.NamespaceCondition{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionFalse,
		Reason: "ContentRemoved", Message: "All content successfully removed"}
	if len(r.objects) > 0 {
		remaining.Status, remaining.Reason = corev1.ConditionTrue, "SomeResourcesRemain"
		var words []string
		for gr, n := range r.objects {
			words = append(words, fmt.Sprintf("%s.%s has %d resource instances", gr.Resource, gr.Group, n))
		}
		slices.Sort(words)
		remaining.Message = "Some resources are remaining: " + strings.Join(words, ", ")
	}
	held := corev1.NamespaceCondition{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse,
		Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"}
	if len(r.finalizers) > 0 {
		held.Status, held.Reason = corev1.ConditionTrue, "SomeFinalizersRemain"
		var words []string
		for _, f := range slices.Sorted(maps.Keys(r.finalizers)) {
			words = append(words, fmt.Sprintf("%s in %d resource instances", f, r.finalizers[f]))
		}
		held.Message = "Some content in the namespace has finalizers remaining: " + strings.Join(words, ", ")
	}
	return []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse,
			Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Status: corev1.ConditionFalse,
			Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse,
			Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		remaining, held,
	}
}

// setNamespaceConditions brings a terminating namespace's status up to date. A condition's time is that of its last change of status.
func (e *Engine) setNamespaceConditions(s *corev1.NamespaceStatus, r remains) {
	s.Phase = corev1.NamespaceTerminating
	for _, c := range r.conditions() {
		c.LastTransitionTime = metav1.NewTime(e.now.Truncate(time.Second))
		i := slices.IndexFunc(s.Conditions, func(old corev1.NamespaceCondition) bool { return old.Type == c.Type })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
			continue
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		}
		s.Conditions[i] = c
	}
}
