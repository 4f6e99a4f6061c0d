package kit

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pollEvery is the pause between two looks at a condition.
const pollEvery = 50 * time.Millisecond

// Eventually waits until f returns nil, and fails the test with its last error after the limit.
func Eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(pollEvery)
	}
}

// Consistently fails the test if f returns an error during the time.
func Consistently(t testing.TB, during time.Duration, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(during); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// Matches tells by its error whether text matches the expression ((?m) is on: ^ and $ are a line's ends).
func Matches(text, expression string) error {
	if !regexp.MustCompile("(?m)" + expression).MatchString(text) {
		return fmt.Errorf("no match of %q in:\n%s", expression, text)
	}
	return nil
}

// WantMatch fails the test if text matches not all of the expressions.
func WantMatch(t testing.TB, text string, expressions ...string) {
	t.Helper()
	for _, e := range expressions {
		if err := Matches(text, e); err != nil {
			t.Error(err)
		}
	}
}

var namespaces atomic.Int64

// MakeNamespace makes a namespace for the test, which is deleted when the test ends.
func (l *Lab) MakeNamespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d-%s", namespaces.Add(1), strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-")))
	name = strings.TrimRight(name[:min(len(name), 50)], "-")
	api := l.Client(t, "").CoreV1().Namespaces()
	_, err := api.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		zero := int64(0)
		pods := l.Client(t, "").CoreV1().Pods(name)
		_ = api.Delete(context.Background(), name, metav1.DeleteOptions{})
		// The pods need no grace when the test is over.
		_ = pods.DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{})
	})
	return name
}

// PodReady tells whether a pod is Ready.
func PodReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ReadyPods waits until exactly n pods match the selector, all Ready, and returns them. Pods that are being
// deleted do not count.
func (l *Lab) ReadyPods(t testing.TB, namespace, selector string, n int, limit time.Duration) []corev1.Pod {
	t.Helper()
	var out []corev1.Pod
	api := l.Client(t, "").CoreV1().Pods(namespace)
	Eventually(t, limit, fmt.Sprintf("%d ready pods of %s in %s", n, selector, namespace), func() error {
		list, err := api.List(context.Background(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		out = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if len(out) != n {
			return fmt.Errorf("%d pods", len(out))
		}
		for i := range out {
			if p := &out[i]; !PodReady(p) {
				return fmt.Errorf("pod %s is %s: %+v", p.Name, p.Status.Phase, p.Status.ContainerStatuses)
			}
		}
		return nil
	})
	return out
}

// Curl asks a URL from the host, or, with a namespace name from lab.json, from a node.
func Curl(netns, url string) (string, error) {
	args := []string{"curl", "-sS", "--noproxy", "*", "--max-time", "3", url}
	if netns != "" {
		args = append([]string{"ip", "netns", "exec", netns}, args...)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", url, err, out)
	}
	return string(out), nil
}
