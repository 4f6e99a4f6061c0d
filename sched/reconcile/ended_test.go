package reconcile

import (
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testJob runs one pod, and goes so long after its end.
func testJob(name string, ttlSeconds int32) *batchv1.Job {
	one := int32(1)
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: batchv1.JobSpec{
		Parallelism: &one, Completions: &one, TTLSecondsAfterFinished: &ttlSeconds, Template: corev1.PodTemplateSpec{Spec: testPodSpec("v1")}}}
}

func TestOldestEndedPodsGo(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.e.cfg.EndedPodsMax = 2
	for i := range 5 {
		w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%d", i)}, Spec: testPodSpec("v1")})
		w.settle()
		w.now = w.now.Add(time.Second)
	}
	w.end(corev1.PodFailed)
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-runner"}, Spec: testPodSpec("v1")})
	w.settle()
	if len(w.pods) != 6 {
		t.Fatalf("%d pods are left before their time", len(w.pods))
	}
	w.now = w.now.Add(endedPodsPause)
	w.settle()
	for name, want := range map[string]bool{"p0": false, "p1": false, "p2": false, "p3": true, "p4": true, "a-runner": true} {
		if there := w.pods[nn("default", name)] != nil; there != want {
			t.Errorf("pod %s is there: %v", name, there)
		}
	}
	if len(w.e.ended) != 2 {
		t.Errorf("%d ended pods are counted", len(w.e.ended))
	}
}

func TestJobsGoWhenTheirTimeIsOver(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(Jobs, testJob("kept", 1000))
	w.put(Jobs, testJob("short", 30))
	w.settle()
	w.end(corev1.PodSucceeded)
	w.settle()
	_, next := w.e.Step(w.now)
	if want := w.now.Add(30 * time.Second); !next.Equal(want) {
		t.Fatalf("next is %v, not %v", next, want)
	}
	w.now = next
	w.converge()
	if jobs := w.list(Jobs); len(jobs) != 1 || jobs[0].name != "kept" || len(w.pods) != 1 {
		t.Fatalf("%d jobs and %d pods are left", len(jobs), len(w.pods))
	}
}

func TestTerminatingNamespaceSaysWhatRemains(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.put(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Finalizers: []string{"example.com/a"}}, Spec: testPodSpec("v1")})
	w.put(ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "held", Finalizers: []string{"example.com/b"}}})
	w.put(ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "free"}})
	w.settle()
	namespace := func() *corev1.Namespace {
		o := w.objects[ref{Namespaces, "", "default"}]
		if o == nil {
			return nil
		}
		return o.obj.DeepCopyObject().(*corev1.Namespace)
	}
	says := func(want map[corev1.NamespaceConditionType]string) {
		t.Helper()
		s := namespace().Status
		if s.Phase != corev1.NamespaceTerminating || len(s.Conditions) != 5 {
			t.Fatalf("status %+v", s)
		}
		for _, c := range s.Conditions {
			got := string(c.Status) + " " + c.Reason + ": " + c.Message
			if w, ok := want[c.Type]; ok && got != w {
				t.Errorf("%s is %q, not %q", c.Type, got, w)
			} else if !ok && c.Status != corev1.ConditionFalse {
				t.Errorf("%s is %q", c.Type, got)
			}
		}
	}
	n := namespace()
	at := metav1.NewTime(w.now)
	n.DeletionTimestamp = &at
	w.put(Namespaces, n)
	w.settle()
	says(map[corev1.NamespaceConditionType]string{ // the pods come first
		corev1.NamespaceContentRemaining:    "True SomeResourcesRemain: Some resources are remaining: pods. has 1 resource instances",
		corev1.NamespaceFinalizersRemaining: "True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/a in 1 resource instances",
	})
	for _, rec := range w.pods {
		w.putRecord(rec, nil)
	}
	w.settle()
	says(map[corev1.NamespaceConditionType]string{
		corev1.NamespaceContentRemaining:    "True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances",
		corev1.NamespaceFinalizersRemaining: "True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/b in 1 resource instances",
	})
	n = namespace()
	n.Spec.Finalizers = append(n.Spec.Finalizers, "example.com/space")
	w.put(Namespaces, n)
	held := w.objects[ref{ConfigMaps, "default", "held"}].obj.DeepCopyObject().(*corev1.ConfigMap)
	held.Finalizers = nil
	w.put(ConfigMaps, held)
	w.settle()
	says(nil)
	n = namespace()
	n.Spec.Finalizers = nil
	w.put(Namespaces, n)
	w.settle()
	if namespace() != nil {
		t.Errorf("left: %+v", namespace())
	}
}
