package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// Remains is what a namespace waits for.
type Remains struct {
	Objects    map[schema.GroupResource]int // how many there are
	Finalizers map[string]int               // how many objects each holds
	// Unknown says of groups and versions why their resources are not known.
	Unknown map[schema.GroupVersion]error
	// Faults are why objects could not be deleted. Those that the cluster has itself can do no more than wait.
	Faults []error
}

func newRemains() Remains {
	return Remains{Objects: map[schema.GroupResource]int{}, Finalizers: map[string]int{}}
}

func (r Remains) add(gr schema.GroupResource, finalizers []string) {
	r.Objects[gr]++
	for _, f := range finalizers {
		r.Finalizers[f]++
	}
}

// Failures are the conditions about what goes wrong while a namespace goes. Its own resources cannot fail to be found, nor the deletion of
// their objects do more than wait; those of API servers that the cluster leads to can (server/emptying.go).
func (r Remains) Failures() []corev1.NamespaceCondition {
	found := corev1.NamespaceCondition{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse,
		Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"}
	if len(r.Unknown) > 0 {
		found.Status, found.Reason = corev1.ConditionTrue, "DiscoveryFailed"
		found.Message = fmt.Sprintf("Discovery failed for some groups, %d failing: unable to retrieve the complete list of server APIs: ", len(r.Unknown)) +
			each(r.Unknown, func(gv schema.GroupVersion, err error) string { return fmt.Sprintf("%s: %v", gv, err) })
	}
	deleted := corev1.NamespaceCondition{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse,
		Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"}
	if len(r.Faults) > 0 {
		deleted.Status, deleted.Reason = corev1.ConditionTrue, "ContentDeletionFailed"
		deleted.Message = fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(r.Faults), errors.Join(r.Faults...))
	}
	return []corev1.NamespaceCondition{found, deleted}
}

// Content are the conditions about what is still there. People and tools look for these and the others.
func (r Remains) Content() []corev1.NamespaceCondition {
	remaining := corev1.NamespaceCondition{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionFalse,
		Reason: "ContentRemoved", Message: "All content successfully removed"}
	if len(r.Objects) > 0 {
		remaining.Status, remaining.Reason = corev1.ConditionTrue, "SomeResourcesRemain"
		remaining.Message = "Some resources are remaining: " +
			each(r.Objects, func(gr schema.GroupResource, n int) string {
				return fmt.Sprintf("%s.%s has %d resource instances", gr.Resource, gr.Group, n)
			})
	}
	held := corev1.NamespaceCondition{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionFalse,
		Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"}
	if len(r.Finalizers) > 0 {
		held.Status, held.Reason = corev1.ConditionTrue, "SomeFinalizersRemain"
		held.Message = "Some content in the namespace has finalizers remaining: " +
			each(r.Finalizers, func(f string, n int) string { return fmt.Sprintf("%s in %d resource instances", f, n) })
	}
	return []corev1.NamespaceCondition{remaining, held}
}

// each is what is said of all entries, in an order that depends on nothing else.
func each[K comparable, V any](m map[K]V, say func(K, V) string) string {
	var words []string
	for k, v := range m {
		words = append(words, say(k, v))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// setNamespaceConditions brings a terminating namespace's status up to date. What other API servers failed in stays: who asks them says
// when it is over.
func (e *Engine) setNamespaceConditions(n *corev1.Namespace, r Remains) {
	n.Status.Phase = corev1.NamespaceTerminating
	failures := r.Failures()
	if slices.Contains(n.Spec.Finalizers, api.AggregatedFinalizer) {
		failures = slices.DeleteFunc(failures, func(c corev1.NamespaceCondition) bool {
			return slices.ContainsFunc(n.Status.Conditions, func(old corev1.NamespaceCondition) bool { return old.Type == c.Type })
		})
	}
	parsed := corev1.NamespaceCondition{Type: corev1.NamespaceDeletionGVParsingFailure, Status: corev1.ConditionFalse,
		Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"}
	SetNamespaceConditions(&n.Status, e.now, slices.Concat(failures, []corev1.NamespaceCondition{parsed}, r.Content())...)
}

// SetNamespaceConditions puts conditions into the place of those of their types. A condition's time is that of its last change of status.
func SetNamespaceConditions(s *corev1.NamespaceStatus, now time.Time, list ...corev1.NamespaceCondition) {
	for _, c := range list {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
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
