package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// stored is a pod as the store holds it: created, bound, running on a node that says what its containers have.
func stored(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	p := load(t, "pods", text).(*corev1.Pod)
	kindNamed(t, "pods").PrepareForCreate(p)
	p.UID, p.ResourceVersion, p.Generation = "u1", "7", 1
	p.Spec.NodeName = "n"
	p.Status.Phase = corev1.PodRunning
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Resources: &corev1.ResourceRequirements{},
		})
	}
	return p
}

// sent is a stored pod as a client sends it back, with parts replaced and defaulted again.
func sent(t testing.TB, text string, edits ...string) *corev1.Pod {
	t.Helper()
	return stored(t, edit(t, text, edits...))
}

func TestEphemeralContainersUpdate(t *testing.T) {
	const good = goodPod + "  ephemeralContainers: [{name: e, image: i, targetContainerName: main}]"
	const at = "spec.ephemeralContainers[0]"
	old := stored(t, goodPod)
	for _, c := range []badObject{
		{"added", nil, nil},
		{"for an init container", []string{"targetContainerName: main", "targetContainerName: init"}, nil},
		{"no target", []string{", targetContainerName: main", ""}, nil},
		{"mounts and environment", []string{"image: i,", "image: i, command: [a], args: [b], workingDir: /, env: [{name: a}], envFrom: [{secretRef: {name: s}}], volumeMounts: [{name: data, mountPath: /d}], stdin: true, stdinOnce: true, tty: true, securityContext: {privileged: true},"}, nil},
		{"unknown target", []string{"targetContainerName: main", "targetContainerName: nobody"}, []string{at + `.targetContainerName: Not found: "nobody"`}},
		{"itself as target", []string{"targetContainerName: main", "targetContainerName: e"}, []string{at + `.targetContainerName: Not found: "e"`}},
		{"name of a container", []string{"{name: e", "{name: main"}, []string{at + `.name: Duplicate value: "main"`}},
		{"name of an init container", []string{"{name: e", "{name: init"}, []string{at + `.name: Duplicate value: "init"`}},
		{"no name", []string{"{name: e", "{name: ''"}, []string{at + ".name: Required value"}},
		{"no image", []string{"image: i,", ""}, []string{at + ".image: Required value"}},
		{"image with space", []string{"image: i,", "image: 'i ',"}, []string{at + `.image: Invalid value: "i ": must not have leading or trailing whitespace`}},
		{"what belongs to services", []string{"image: i,", "image: i, ports: [{containerPort: 1}], livenessProbe: {exec: {command: [a]}}, readinessProbe: {exec: {command: [a]}}, startupProbe: {exec: {command: [a]}}, lifecycle: {preStop: {exec: {command: [a]}}}, resources: {limits: {cpu: 1}}, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}], restartPolicy: Always,"}, []string{
			at + ".ports: Forbidden: cannot be set for an Ephemeral Container",
			at + ".livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
			at + ".readinessProbe: Forbidden: cannot be set for an Ephemeral Container",
			at + ".startupProbe: Forbidden: cannot be set for an Ephemeral Container",
			at + ".lifecycle: Forbidden: cannot be set for an Ephemeral Container",
			at + ".resources: Forbidden: cannot be set for an Ephemeral Container",
			at + ".resizePolicy: Forbidden: cannot be set for an Ephemeral Container",
			at + ".restartPolicy: Forbidden: cannot be set for an Ephemeral Container",
		}},
		{"restart rules", []string{"image: i,", "image: i, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}],"}, []string{at + ".restartPolicyRules: Forbidden"}},
		{"sub paths", []string{"image: i,", "image: i, volumeMounts: [{name: data, mountPath: /a, subPath: x}, {name: data, mountPath: /b, subPathExpr: q}],"}, []string{
			at + ".volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container",
			at + ".volumeMounts[1].subPathExpr: Forbidden: cannot be set for an Ephemeral Container",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sent(t, good, c.edits...)
			PrepareEphemeralContainersUpdate(p, old)
			sameFaults(t, ValidateEphemeralContainersUpdate(p, old), c.want...)
		})
	}
	t.Run("changed", func(t *testing.T) {
		p := sent(t, good, "image: i", "image: j")
		sameFaults(t, ValidateEphemeralContainersUpdate(p, stored(t, good)), `spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be changed`)
	})
	t.Run("moved", func(t *testing.T) {
		two := stored(t, edit(t, good, "main}]", "main}, {name: f, image: i}]"))
		moved := two.DeepCopy()
		list := moved.Spec.EphemeralContainers
		list[0], list[1] = list[1], list[0]
		sameFaults(t, ValidateEphemeralContainersUpdate(moved, two))
	})
	t.Run("static pod", func(t *testing.T) {
		mirror := old.DeepCopy()
		mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		p := sent(t, good)
		PrepareEphemeralContainersUpdate(p, mirror)
		sameFaults(t, ValidateEphemeralContainersUpdate(p, mirror), "[]: Forbidden: static pods do not support ephemeral containers")
	})
}

// Nothing but the list is heard, so that the right to debug is not the right to change the pod.
func TestEphemeralContainersUpdateKeepsTheRest(t *testing.T) {
	old := stored(t, goodPod)
	p := sent(t, goodPod+"  ephemeralContainers: [{name: e, image: i}]", "nginx:1.27", "evil", "value: b", "value: c")
	p.Labels, p.Annotations, p.Finalizers = map[string]string{"a": "b"}, map[string]string{"a": "b"}, []string{"a/b"}
	p.Status.Phase = corev1.PodFailed
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	want := old.DeepCopy()
	want.Spec.EphemeralContainers = p.Spec.EphemeralContainers
	want.ManagedFields = p.ManagedFields
	PrepareEphemeralContainersUpdate(p, old)
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

const resizablePod = `
metadata: {name: web, namespace: default}
spec:
  initContainers:
  - {name: init, image: i, resources: {requests: {cpu: 10m}}}
  - {name: side, image: i, restartPolicy: Always, resources: {requests: {cpu: 20m, memory: 20Mi}, limits: {memory: 30Mi}}}
  containers:
  - {name: main, image: i, resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}], resources: {requests: {cpu: 100m, memory: 64Mi, ephemeral-storage: 1Gi}, limits: {cpu: "1", memory: 128Mi}}}
  - {name: other, image: i}
`

func TestPodResize(t *testing.T) {
	old := stored(t, resizablePod)
	const main = "spec.containers[0].resources"
	for _, c := range []badObject{
		{"nothing", nil, nil},
		{"requests up", []string{"cpu: 100m", "cpu: 200m"}, nil},
		{"limits down", []string{"memory: 128Mi", "memory: 64Mi"}, nil},
		{"limit added", []string{"name: other, image: i", "name: other, image: i, resources: {limits: {cpu: 1}}"}, nil},
		{"policy", []string{"RestartContainer", "NotRequired"}, nil},
		{"sidecar", []string{"cpu: 20m, memory: 20Mi", "cpu: 30m, memory: 10Mi"}, nil},
		{"image is not heard", []string{"name: main, image: i", "name: main, image: j"}, nil},
		{"request above limit", []string{"cpu: 100m", "cpu: 2"}, []string{main + `.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		{"request removed", []string{"cpu: 100m, memory: 64Mi,", "memory: 64Mi,", `cpu: "1", memory: 128Mi`, "memory: 128Mi"}, []string{
			main + ".requests: Forbidden: resource requests cannot be removed", main + ".limits: Forbidden: resource limits cannot be removed",
		}},
		{"limit removed", []string{`cpu: "1", memory: 128Mi`, `cpu: "1"`}, []string{main + ".limits: Forbidden: resource limits cannot be removed"}},
		{"sidecar limit removed", []string{", limits: {memory: 30Mi}", ""}, []string{"spec.initContainers[1].resources.limits: Forbidden: resource limits cannot be removed"}},
		{"storage", []string{"ephemeral-storage: 1Gi", "ephemeral-storage: 2Gi"}, []string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		{"init container", []string{"requests: {cpu: 10m}", "requests: {cpu: 11m}"}, []string{"spec.initContainers[0]: Forbidden: resources for non-sidecar init containers are immutable"}},
		{"sidecar storage", []string{"{cpu: 20m, memory: 20Mi}", "{cpu: 20m, memory: 20Mi, ephemeral-storage: 1Gi}"}, []string{"spec.initContainers[1]: Forbidden: only cpu and memory resources for sidecar containers are mutable"}},
		{"container added", []string{"  - {name: other, image: i}\n", "  - {name: other, image: i}\n  - {name: third, image: i}\n"}, []string{"spec.containers: Forbidden: containers may not be added or removed on resize"}},
		{"container renamed", []string{"name: other", "name: another"}, []string{"spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"}},
		{"init container removed", []string{"  - {name: init, image: i, resources: {requests: {cpu: 10m}}}\n", ""}, []string{"spec.initContainers: Forbidden: initContainers may not be added or removed on resize"}},
		{"init container renamed", []string{"name: init", "name: first"}, []string{"spec.initContainers[0].name: Forbidden: initContainers may not be renamed or reordered on resize"}},
		{"unknown policy", []string{"RestartContainer", "Explode"}, []string{`spec.containers[0].resizePolicy: Unsupported value: "Explode": supported values: "NotRequired", "RestartContainer"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sent(t, resizablePod, c.edits...)
			PreparePodResize(p, old)
			sameFaults(t, ValidatePodResize(p, old), c.want...)
		})
	}
}

func TestPodResizeKeepsTheClass(t *testing.T) {
	const guaranteed = "spec: {containers: [{name: a, image: b, resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}}]}"
	const none = "spec: {containers: [{name: a, image: b}]}"
	for _, c := range []struct {
		name, old, now string
		want           []string
	}{
		{"guaranteed stays", guaranteed, strings.ReplaceAll(guaranteed, "cpu: 1", "cpu: 2"), nil},
		{"guaranteed to burstable", guaranteed, strings.Replace(guaranteed, "requests: {cpu: 1", "requests: {cpu: 500m", 1), []string{`spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`}},
		{"best effort to burstable", none, strings.Replace(none, "image: b", "image: b, resources: {requests: {cpu: 1}}", 1), []string{`spec: Invalid value: "Burstable": Pod QOS Class may not change`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, p := stored(t, c.old), stored(t, c.now)
			PreparePodResize(p, old)
			sameFaults(t, ValidatePodResize(p, old), c.want...)
		})
	}
}

func TestPodsThatCannotBeResized(t *testing.T) {
	refuse := func(name string, spoil func(p *corev1.Pod), want ...string) {
		t.Run(name, func(t *testing.T) {
			old := stored(t, resizablePod)
			spoil(old)
			p := sent(t, resizablePod, "cpu: 100m", "cpu: 200m")
			PreparePodResize(p, old)
			sameFaults(t, ValidatePodResize(p, old), want...)
		})
	}
	refuse("static", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
		"[]: Forbidden: static pods cannot be resized")
	refuse("windows", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, "[]: Forbidden: windows pods cannot be resized")
	refuse("linux", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} })
	refuse("on a node that cannot", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].Resources = nil },
		"spec: Forbidden: Pod running on node without support for resize")
	refuse("not yet running", func(p *corev1.Pod) { p.Status.ContainerStatuses = nil })
}

func TestPodLevelResize(t *testing.T) {
	const pod = "spec: {resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 4, memory: 2Gi}}, containers: [{name: a, image: b, resources: {requests: {cpu: 1}}}]}"
	old := stored(t, pod)
	for _, c := range []badObject{
		{"up", []string{"cpu: 4", "cpu: 8"}, nil},
		{"less than the containers", []string{"requests: {cpu: 2", "requests: {cpu: 500m"}, []string{`spec.resources.requests[cpu]: Invalid value: "500m": must be greater than or equal to aggregate container requests of 1`}},
		{"removed", []string{"limits: {cpu: 4, memory: 2Gi}", "limits: {cpu: 4}"}, []string{"spec.resources.limits: Forbidden: resource limits cannot be removed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sent(t, pod, c.edits...)
			PreparePodResize(p, old)
			sameFaults(t, ValidatePodResize(p, old), c.want...)
		})
	}
}

func TestPodResizeKeepsTheRest(t *testing.T) {
	old := stored(t, resizablePod)
	p := sent(t, resizablePod, "cpu: 100m", "cpu: 200m", "name: main, image: i", "name: main, image: evil")
	p.Labels, p.Status.Phase = map[string]string{"a": "b"}, corev1.PodFailed
	want := old.DeepCopy()
	want.Spec.Containers[0].Resources = p.Spec.Containers[0].Resources
	PreparePodResize(p, old)
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBindingAndEviction(t *testing.T) {
	sameFaults(t, ValidateBinding(&corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}))
	sameFaults(t, ValidateBinding(&corev1.Binding{Target: corev1.ObjectReference{Name: "n"}}))
	sameFaults(t, ValidateBinding(&corev1.Binding{Target: corev1.ObjectReference{Kind: "Pod"}}),
		`target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"`, "target.name: Required value")

	orphan, foreground := true, metav1.DeletePropagationForeground
	sameFaults(t, ValidateEviction(&policyv1.Eviction{}))
	sameFaults(t, ValidateEviction(&policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{DryRun: []string{"All"}}}))
	sameFaults(t, ValidateEviction(&policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{DryRun: []string{"Some"}, OrphanDependents: &orphan, PropagationPolicy: &foreground}}),
		"propagationPolicy: Invalid value", `dryRun: Unsupported value: ["Some"]`)

	all := []string{metav1.DryRunAll}
	for _, c := range []struct{ body, request, want []string }{{nil, nil, nil}, {all, nil, all}, {nil, all, all}, {all, all, all}} {
		e := &policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{DryRun: c.body}}
		o, err := EvictionDeleteOptions(e, &metav1.CreateOptions{DryRun: c.request})
		if err != nil || !cmp.Equal(o.DryRun, c.want) {
			t.Errorf("body %v, request %v: %v, %v", c.body, c.request, o, err)
		}
	}
	if _, err := EvictionDeleteOptions(&policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{DryRun: all}}, &metav1.CreateOptions{DryRun: []string{"x"}}); err == nil {
		t.Error("a contradiction was accepted")
	}
}

func TestPodAnnotations(t *testing.T) {
	const good = "metadata: {name: a, annotations: {x: y}}\nspec: {containers: [{name: a, image: b}]}"
	bad := func(annotation, want string) badObject {
		return badObject{annotation, []string{"x: y", annotation}, []string{want}}
	}
	runBad(t, "pods", good, []badObject{
		{"cost", []string{"x: y", "controller.kubernetes.io/pod-deletion-cost: '-100'"}, nil},
		{"no cost", []string{"x: y", "controller.kubernetes.io/pod-deletion-cost: '0'"}, nil},
		bad("controller.kubernetes.io/pod-deletion-cost: '+1'", `metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit integer`),
		bad("controller.kubernetes.io/pod-deletion-cost: '01'", `metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "01"`),
		bad("controller.kubernetes.io/pod-deletion-cost: '2147483648'", `metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "2147483648"`),
		bad("kubernetes.io/config.mirror: m", `metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "m": must set spec.nodeName if mirror pod annotation is set`),
		{"app armor", []string{"x: y", "container.apparmor.security.beta.kubernetes.io/a: localhost/p"}, nil},
		bad("container.apparmor.security.beta.kubernetes.io/z: unconfined", `metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: "z": container not found`),
		bad("container.apparmor.security.beta.kubernetes.io/a: p", `metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Invalid value: "p": invalid AppArmor profile name: "p"`),
	})
	const armour = "container.apparmor.security.beta.kubernetes.io/a: unconfined"
	runUpdates(t, "pods", good, []badObject{
		{"other annotation", []string{"x: y", "x: z"}, nil},
		{"mirror", []string{"x: y", "kubernetes.io/config.mirror: m", "containers", "nodeName: n, containers"}, []string{
			"metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation", "spec: Forbidden: pod updates may not change",
		}},
		{"armour added", []string{"x: y", armour}, []string{"metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Forbidden: may not add AppArmor annotations"}},
	})
	runUpdates(t, "pods", strings.Replace(good, "x: y", armour, 1), []badObject{
		{"armour kept", nil, nil},
		{"armour removed", []string{armour, "x: y"}, []string{"metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Forbidden: may not remove or update AppArmor annotations"}},
	})
}

func TestGatedPodsCanBeNarrowed(t *testing.T) {
	const gated = `
metadata: {name: a}
spec:
  schedulingGates: [{name: g}]
  nodeSelector: {a: b}
  affinity:
    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}
    podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: z, labelSelector: {matchLabels: {a: b}}}]}
  containers: [{name: a, image: b}]
`
	const terms = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	runUpdates(t, "pods", gated, []badObject{
		{"condition added", []string{"operator: Exists}]}]", "operator: Exists}, {key: l, operator: Exists}]}]"}, nil},
		{"preference", []string{"operator: Exists}]}]}}", "operator: Exists}]}]}, preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: p, operator: Exists}]}}]}"}, nil},
		{"term added", []string{"operator: Exists}]}]", "operator: Exists}]}, {matchExpressions: [{key: l, operator: Exists}]}]"}, []string{terms + ": Invalid value: "}},
		{"condition changed", []string{"key: k", "key: l"}, []string{terms + "[0]: Invalid value: "}},
		{"other pods", []string{"topologyKey: z", "topologyKey: y"}, []string{"spec: Forbidden: pod updates may not change fields other than"}},
		{"selector removed", []string{"nodeSelector: {a: b}", "nodeSelector: {c: d}"}, []string{"spec.nodeSelector: Invalid value: {\"c\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"}},
	})
	free := edit(t, gated, "schedulingGates: [{name: g}]", "hostname: h")
	runUpdates(t, "pods", free, []badObject{
		{"gone through the gate", []string{"operator: Exists}]}]", "operator: Exists}, {key: l, operator: Exists}]}]"}, []string{"spec: Forbidden: pod updates may not change"}},
	})
	plain := "metadata: {name: a}\nspec:\n  schedulingGates: [{name: g}]\n  containers: [{name: a, image: b}]\n"
	runUpdates(t, "pods", plain, []badObject{
		{"affinity set", []string{"  containers", "  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}}\n  containers"}, nil},
		{"affinity to pods set", []string{"  containers", "  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: z}]}}\n  containers"}, []string{"spec: Forbidden: pod updates may not change"}},
	})
}

func TestWhatEndedStaysEnded(t *testing.T) {
	ended := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
	}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for _, c := range []struct {
		name, spec string
		code       int32
		want       []string
	}{
		{"always", "containers: [{name: a, image: b}]", 0, nil},
		{"never", "restartPolicy: Never, containers: [{name: a, image: b}]", 1, []string{"status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"}},
		{"on failure", "restartPolicy: OnFailure, containers: [{name: a, image: b}]", 1, nil},
		{"on failure, succeeded", "restartPolicy: OnFailure, containers: [{name: a, image: b}]", 0, []string{"status.containerStatuses[0].state: Forbidden"}},
		{"own policy", "restartPolicy: Never, containers: [{name: a, image: b, restartPolicy: Always}]", 0, nil},
		{"own rules", "restartPolicy: Never, containers: [{name: a, image: b, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}]", 1, nil},
		{"all by another's rule", "restartPolicy: Never, containers: [{name: a, image: b}, {name: c, image: b, restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [1]}}]}]", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := stored(t, "metadata: {name: a}\nspec: {"+c.spec+"}")
			old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: ended(c.code)}}
			p := old.DeepCopy()
			p.Status.ContainerStatuses[0].State = runs
			sameFaults(t, kindNamed(t, "pods").ValidateStatusUpdate(p, old), c.want...)
		})
	}
	old := stored(t, "metadata: {name: a}\nspec: {restartPolicy: Never, initContainers: [{name: i, image: b}, {name: s, image: b, restartPolicy: Always}], containers: [{name: a, image: b}]}")
	old.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "i", State: ended(0)}, {Name: "s", State: ended(0)}}
	old.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "e", State: ended(0)}}
	p := old.DeepCopy()
	p.Status.InitContainerStatuses[0].State, p.Status.InitContainerStatuses[1].State, p.Status.EphemeralContainerStatuses[0].State = runs, runs, runs
	sameFaults(t, kindNamed(t, "pods").ValidateStatusUpdate(p, old),
		"status.initContainerStatuses[0].state: Forbidden", "status.ephemeralContainerStatuses[0].state: Forbidden")
}

func TestPodStatusFaults(t *testing.T) {
	old := stored(t, "metadata: {name: a}\nspec: {resourceClaims: [{name: c, resourceClaimTemplateName: t}], containers: [{name: a, image: b}]}")
	for _, c := range []struct {
		name  string
		spoil func(s *corev1.PodStatus)
		want  []string
	}{
		{"two families", func(s *corev1.PodStatus) { s.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}} }, nil},
		{"one family twice", func(s *corev1.PodStatus) { s.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}} }, []string{"status.podIPs: Invalid value"}},
		{"twice the same", func(s *corev1.PodStatus) { s.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.1"}} }, []string{
			`status.podIPs[1]: Duplicate value: "10.0.0.1"`, "status.podIPs: Invalid value",
		}},
		{"host", func(s *corev1.PodStatus) { s.HostIP, s.HostIPs = "10.0.0.1", []corev1.HostIP{{IP: "10.0.0.2"}} }, []string{"status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"}},
		{"condition", func(s *corev1.PodStatus) {
			s.Conditions = []corev1.PodCondition{{Type: "Ready"}, {Type: "example.com/x"}, {Type: "not ok"}}
		}, []string{`status.conditions[2].type: Invalid value: "not ok"`}},
		{"claims", func(s *corev1.PodStatus) {
			s.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "c"}, {Name: "d"}, {Name: "c"}}
		}, []string{"status.resourceClaimStatuses[1].name: Invalid value: \"d\": must match the name of an entry in `spec.resourceClaims`", `status.resourceClaimStatuses[2].name: Duplicate value: "c"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := old.DeepCopy()
			c.spoil(&p.Status)
			var errs field.ErrorList = kindNamed(t, "pods").ValidateStatusUpdate(p, old)
			sameFaults(t, errs, c.want...)
		})
	}
}
