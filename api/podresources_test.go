package api

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEffectivePodResources(t *testing.T) {
	for name, c := range map[string]struct{ spec, requests, limits string }{
		"sum of containers": {"containers: [{name: a, resources: {requests: {cpu: 100m}, limits: {cpu: 1}}}, {name: b, resources: {requests: {cpu: 200m}}}]", "300m", "1"},
		"largest init":      {"initContainers: [{name: i, resources: {requests: {cpu: 1}}}]\n  containers: [{name: a, resources: {requests: {cpu: 100m}}}]", "1", "0"},
		"sidecar adds":      {"initContainers: [{name: s, restartPolicy: Always, resources: {requests: {cpu: 1}}}, {name: i, resources: {requests: {cpu: 3}}}]\n  containers: [{name: a, resources: {requests: {cpu: 100m}}}]", "4", "0"},
		"overhead":          {"overhead: {cpu: 10m}\n  containers: [{name: a, resources: {requests: {cpu: 100m}, limits: {cpu: 1}}}]", "110m", "1010m"},
		"pod level":         {"resources: {requests: {cpu: 2}, limits: {cpu: 3}}\n  containers: [{name: a, resources: {requests: {cpu: 1}}}]", "2", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := &load(t, "pods", "spec:\n  "+c.spec).(*corev1.Pod).Spec
			requests, limits := EffectivePodResources(spec)
			if r, l := requests.Cpu().String(), limits.Cpu().String(); r != c.requests || l != c.limits {
				t.Errorf("requests %s, limits %s; want %s and %s", r, l, c.requests, c.limits)
			}
		})
	}
}

func TestQOSClass(t *testing.T) {
	for resources, want := range map[string]corev1.PodQOSClass{
		"{}": corev1.PodQOSBestEffort,
		"{requests: {example.com/x: 1}, limits: {example.com/x: 1}}": corev1.PodQOSBestEffort,
		"{requests: {cpu: 1}}":            corev1.PodQOSBurstable,
		"{limits: {cpu: 1}}":              corev1.PodQOSBurstable,
		"{limits: {cpu: 1, memory: 1Gi}}": corev1.PodQOSGuaranteed,
		"{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Mi}}": corev1.PodQOSBurstable,
	} {
		pod := load(t, "pods", "spec: {containers: [{name: a, image: b, resources: "+resources+"}]}").(*corev1.Pod)
		if got := QOSClass(pod); got != want {
			t.Errorf("%s: %s, want %s", resources, got, want)
		}
		if !strings.Contains(resources, "limits: {cpu: 1, memory: 1Gi}}") {
			continue
		}
		pod.Spec.InitContainers = []corev1.Container{{Name: "i"}}
		if got := QOSClass(pod); got != corev1.PodQOSBurstable {
			t.Errorf("an init container without limits leaves the pod %s", got)
		}
	}
}

func TestSetPodCondition(t *testing.T) {
	at := func(s int64) metav1.Time { return metav1.Unix(s, 0) }
	var status corev1.PodStatus
	set := func(v corev1.ConditionStatus, reason string, s int64) bool {
		return SetPodCondition(&status, corev1.PodCondition{Type: corev1.PodReady, Status: v, Reason: reason, LastTransitionTime: at(s)})
	}
	if PodReady(&status) {
		t.Error("ready without a condition")
	}
	if !set(corev1.ConditionTrue, "", 1) || !PodReady(&status) {
		t.Error("the condition was not added")
	}
	if set(corev1.ConditionTrue, "", 2) {
		t.Error("the same condition, later, counts as a change")
	}
	if !set(corev1.ConditionTrue, "Other", 3) {
		t.Error("a new reason is no change")
	}
	if got := PodCondition(&status, corev1.PodReady).LastTransitionTime; got != at(1) {
		t.Errorf("a new reason moved the transition to %v", got)
	}
	if !set(corev1.ConditionFalse, "Other", 4) || PodReady(&status) {
		t.Error("the condition did not turn")
	}
	if got := status.Conditions[0].LastTransitionTime.Time; !got.Equal(time.Unix(4, 0)) || len(status.Conditions) != 1 {
		t.Errorf("transition at %v, %d conditions", got, len(status.Conditions))
	}
}

func TestWarnings(t *testing.T) {
	pod := load(t, "pods", "{metadata: {name: a.b}, spec: {containers: [{name: a, image: b, env: [{name: A}, {name: A}], ports: [{containerPort: 1}, {containerPort: 1, name: x}], resources: {limits: {memory: 100m}}}]}}")
	got := strings.Join(kindNamed(t, "pods").Warnings(pod, nil), "\n")
	for _, want := range []string{
		"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [",
		`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
		"spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
		`spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing warning %s in\n%s", want, got)
		}
	}
}
