package jobs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// warnings are the newest warning events of the workloads and their pods. They only explain, so a
// failure to read them says so instead.
func (s *session) warnings(ctx context.Context, namespace string, workloads []string) []string {
	list, err := s.typed.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return []string{"the events could not be read: " + err.Error()}
	}
	return newestWarnings(list.Items, workloads)
}

func newestWarnings(events []corev1.Event, workloads []string) []string {
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return eventTime(b).Compare(eventTime(a).Time) })
	var out []string
	seen := map[string]bool{}
	for _, e := range events {
		name := e.InvolvedObject.Name
		concerns := slices.ContainsFunc(workloads, func(w string) bool { return name == w || strings.HasPrefix(name, w+"-") })
		line := fmt.Sprintf("%s %s: %s: %s", e.InvolvedObject.Kind, name, e.Reason, e.Message)
		if !concerns || seen[e.Reason+e.Message] {
			continue
		}
		seen[e.Reason+e.Message] = true
		if out = append(out, line); len(out) == warningsMax {
			break
		}
	}
	return out
}

func eventTime(e corev1.Event) metav1.Time {
	if e.LastTimestamp.IsZero() {
		return metav1.Time{Time: e.EventTime.Time}
	}
	return e.LastTimestamp
}
